"""Clients of tenants: each does everything that clients do, and notes what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_client import (
    Draining,
    KeyNotFound,
    MCPClient,
    MCPError,
    NotAllowed,
    ProviderError,
    QuotaExceeded,
    ServerUnavailable,
    SessionNotFound,
    Turn,
    TurnCancelled,
    TurnInterrupted,
    TurnNotFound,
    TurnStream,
)
from tests.auth.keys import NewKey
from tests.soak.tenants.provider import SLOW, answer
from tests.soak.tenants.tenants import NAMES, Tenant

PATIENCE: Final = 45.0
"""Seconds after which a call without an answer counts as lost."""
TURNS_OF_A_SESSION: Final = 10
PASSING: Final = (ProviderError, QuotaExceeded, TurnCancelled, TurnInterrupted)
"""How a turn may end among faults, restarts and limits."""
LIMITS: Final = ("tokens_per_month", "concurrent_turns")
ENDED: Final = ("succeeded", "failed", "cancelled", "interrupted")


@dataclass(slots=True)
class Notes:
    """What all clients have seen.

    Attributes:
        keys: the id of the key that each request was made with.
        sessions: that exist, by tenant.
        turns: of sessions that were deleted, as they were last seen.
        dropped: the request id of the turn that ran when its session was deleted, by session.
        embedded: the attempts of answered calls for embeddings, by key.
        lost: the request ids of calls for embeddings without an answer.
        outcomes: of what clients did.
        problems: what must not be.
    """

    tenants: Sequence[Tenant]
    keys: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in NAMES})
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    embedded: dict[str, list[Any]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def look(self, tenant: Tenant, seen: object) -> None:
        """See that a tenant was shown nothing of the others."""
        text = repr(seen)
        if isinstance(seen, MCPError):
            text += repr(seen.details)
        for other in self.tenants:
            if other is not tenant and other.canary in text:
                self.problems.append(f"{tenant.name} has seen a text of {other.name}: {text[:200]}")

    def check_quota(self, tenant: Tenant, error: QuotaExceeded, *, key: str = "") -> None:
        """See that a refusal names a limit that binds the caller, and whom it binds."""
        subject = f"keys/{key}" if key else f"tenants/{tenant.name}"
        if error.subject != subject or error.limit not in LIMITS or error.code != "RESOURCE_EXHAUSTED":
            self.problems.append(f"{tenant.name}: {error.code} {error.subject} {error.limit}, not of {subject}")


async def ended_turns(client: MCPClient, session: str) -> list[Turn]:
    """All turns of a session, when all of them have ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            turns = [turn async for turn in client.list_turns(session, page_size=1000, timeout=PATIENCE)]
            if all(turn.state in ENDED for turn in turns):
                return turns
            await asyncio.sleep(0.05)


async def delete(client: MCPClient, session: str) -> None:
    """Delete a session through restarts of the server, which the client itself does not."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.delete_session(session, timeout=PATIENCE)
            except (ServerUnavailable, Draining):
                await asyncio.sleep(0.1)
            else:
                return


class Worker:
    """One client of a tenant.

    Args:
        client: with the key.
        tenant: whose key it is.
        key: it.
        name: begins the ids of its sessions and requests.
        generator: decides.
        notes: are kept.
    """

    def __init__(
        self, client: MCPClient, tenant: Tenant, key: NewKey, name: str, generator: random.Random, notes: Notes
    ) -> None:
        self._client = client
        self._tenant = tenant
        self._key = key
        self._name = name
        self._random = generator
        self._notes = notes
        self._serial = 0
        self._session = ""
        self._turns = 0

    async def run(self, stopped: asyncio.Event) -> None:
        """Do one thing after the other, until stopped."""
        actions: dict[Callable[[], Awaitable[None]], int] = {
            self._chat: 5,
            self._stream: 5,
            self._leave: 2,
            self._cancel: 2,
            self._repeat: 2,
            self._embed: 2,
            self._list: 2,
            self._fork: 1,
            self._delete_running: 1,
            self._trespass: 2,
        }
        while not stopped.is_set():
            action = self._random.choices(list(actions), list(actions.values()))[0]
            outcome = action.__name__.strip("_").replace("_", " ")
            try:
                if not self._session or self._turns >= TURNS_OF_A_SESSION:
                    await self._begin()
                async with asyncio.timeout(2 * PATIENCE):
                    await action()
            except PASSING as error:
                self._notes.look(self._tenant, error)
                if isinstance(error, QuotaExceeded):
                    self._notes.check_quota(self._tenant, error)
                    await asyncio.sleep(0.1)
                outcome = type(error).__name__
            except (AssertionError, MCPError, TimeoutError) as error:  # shown at the end, with all that is found later
                self._notes.look(self._tenant, error)
                self._notes.problems.append(f"{self._name}: {outcome}: {type(error).__name__}: {error}")
                self._session = ""
            self._notes.outcomes[outcome] += 1
            await asyncio.sleep(self._random.uniform(0.02, 0.15))

    # -- what it does -------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        if self._session:
            if self._random.random() < 0.5:
                await self._delete(self._session)
            self._session = ""
        session = await self._client.create_session(
            self._new(), labels={"team": self._tenant.canary}, request_id=self._new(), timeout=PATIENCE
        )
        self._notes.sessions[self._tenant.name].add(session.name)
        self._session, self._turns = session.name, 0

    async def _chat(self) -> None:
        await self._ask(self._question(), streamed=False)

    async def _stream(self) -> None:
        await self._ask(self._question(), streamed=True)

    async def _leave(self) -> None:
        """Go in the middle of an answer; the turn is cancelled, now or when nobody comes back."""
        question = self._question(SLOW)
        async with self._opened(question) as stream:
            async for text in stream:
                self._notes.look(self._tenant, text)
                if self._random.random() < 0.3:
                    break

    async def _cancel(self) -> None:
        """Cancel a turn in the middle of its answer."""
        async with self._opened(self._question(SLOW)) as stream:
            async for _ in stream:
                self._notes.look(self._tenant, await stream.cancel(timeout=PATIENCE))
                break

    async def _repeat(self) -> None:
        """Send a request twice, which is one turn."""
        question = self._question()
        first = await self._ask(question, streamed=self._random.random() < 0.5)
        second = await self._ask(question, streamed=self._random.random() < 0.5)
        assert first == second, f"{question!r} became two turns"

    async def _embed(self) -> None:
        question = self._question()
        request_id = question.split()[1]
        try:
            found = await self._client.embed(question, timeout=PATIENCE)
        except MCPError as error:
            if not isinstance(error, QuotaExceeded):
                self._notes.lost.add(request_id)
            raise
        self._notes.embedded.setdefault(self._key.id, []).extend(found.attempts)

    async def _list(self) -> None:
        """All that a tenant can list is its own."""
        found: list[object] = [each async for each in self._client.list_messages(self._session, timeout=PATIENCE)]
        found += [each async for each in self._client.list_turns(self._session, timeout=PATIENCE)]
        sessions = [each async for each in self._client.list_sessions(page_size=1000, timeout=PATIENCE)]
        keys = [each async for each in self._client.list_keys(page_size=1000, timeout=PATIENCE)]
        usage = [each async for each in self._client.query_usage(group_by=["session", "tenant"], timeout=PATIENCE)]
        foreign = [each.id for each in sessions if not each.id.startswith(self._tenant.name)]
        foreign += [each.name for each in keys if each.tenant != self._tenant.name]
        foreign += [str(each.group) for each in usage if each.group["tenant"] != self._tenant.name]
        assert not foreign, f"it sees {foreign[:3]}"
        self._notes.look(self._tenant, (found, sessions, keys, usage))

    async def _fork(self) -> None:
        """Talk on a branch, and delete it."""
        name = self._new()
        fork = await self._client.fork_session(self._session, name, request_id=name, timeout=PATIENCE)
        self._notes.sessions[self._tenant.name].add(fork.name)
        await self._ask(self._question(), streamed=True, session=fork.name)
        await self._delete(fork.name)

    async def _delete_running(self) -> None:
        """Delete the session in the middle of an answer."""
        session, self._session = self._session, ""
        question = self._question(SLOW)
        turns = await ended_turns(self._client, session)
        try:
            async with self._opened(question, session=session) as stream:
                async for _ in stream:
                    if session not in self._notes.dropped:
                        self._notes.sessions[self._tenant.name].discard(session)
                        self._notes.turns[session], self._notes.dropped[session] = turns, question.split()[1]
                        await delete(self._client, session)
        except SessionNotFound as error:
            self._notes.look(self._tenant, error)

    async def _trespass(self) -> None:
        """Nothing of another tenant exists."""
        other = self._random.choice([each for each in self._notes.tenants if each is not self._tenant])
        sessions = list(self._notes.sessions[other.name])
        if not sessions:
            return
        session, client = self._random.choice(sessions), self._client

        async def listed() -> object:
            return [each async for each in client.list_messages(session, timeout=PATIENCE)]

        async def usage() -> object:
            return [each async for each in client.query_usage(tenant=other.name, timeout=PATIENCE)]

        calls: Sequence[tuple[Callable[[], Awaitable[object]], type[MCPError]]] = [
            (lambda: client.get_session(session, timeout=PATIENCE), SessionNotFound),
            (lambda: delete(client, session), SessionNotFound),
            (lambda: client.fork_session(session, timeout=PATIENCE), SessionNotFound),
            (lambda: client.chat(self._question(), session=session, timeout=PATIENCE), SessionNotFound),
            (lambda: client.get_turn(f"{session}/turns/0", timeout=PATIENCE), TurnNotFound),
            (lambda: client.revoke_key(f"keys/{other.keys[0].id}", timeout=PATIENCE), KeyNotFound),
            (listed, SessionNotFound),
            (usage, NotAllowed),
        ]
        call, expected = self._random.choice(calls)
        try:
            found = await call()
        except expected as error:
            self._notes.look(self._tenant, error)
        else:
            raise AssertionError(f"{session} of {other.name}: {found!r}")

    # -- how it does it -----------------------------------------------------------------------------------------------

    async def _ask(self, question: str, *, streamed: bool, session: str = "") -> str:
        """Return the name of the turn."""
        if streamed:
            async with self._opened(question, session=session) as stream:
                async for text in stream:
                    self._notes.look(self._tenant, text)
            text, turn = stream.text, stream.turn
        else:
            reply = await self._client.chat(
                question,
                session=session or self._session,
                request_id=question.split()[1],
                if_busy="queue",
                timeout=PATIENCE,
            )
            text, turn = reply.text, reply.turn
        self._notes.look(self._tenant, text)
        assert text == "".join(answer(question)), f"{question!r} was answered {text!r}"
        return turn

    def _opened(self, question: str, *, session: str = "") -> TurnStream:
        return self._client.stream_chat(
            question,
            session=session or self._session,
            request_id=question.split()[1],
            if_busy="queue",
            timeout=PATIENCE,
        )

    async def _delete(self, session: str) -> None:
        """Delete a session in which nothing runs, and keep what it has used."""
        turns = await ended_turns(self._client, session)
        self._notes.sessions[self._tenant.name].discard(session)
        self._notes.turns[session] = turns
        with contextlib.suppress(SessionNotFound):  # it was deleted, and the answer was lost
            await delete(self._client, session)

    def _question(self, words: str = "") -> str:
        request_id = self._new()
        self._notes.keys[request_id] = self._key.id
        self._turns += 1
        return f"{self._tenant.canary} {request_id} {words or self._random.randrange(1, 20)}"

    def _new(self) -> str:
        self._serial += 1
        return f"{self._name}-{self._serial}"
