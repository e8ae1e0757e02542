"""The clients that are to be served whatever happens: each knows what was acknowledged to it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from mcp_client import MCPClient, MCPError, Retry, TryLater
from tests.soak.server import answer

RETRY: Final = Retry(patience=60, max_delay=0.25)
"""Longer than any outage, and often: how soon the server answers is what is measured."""
PATIENCE: Final = 60.0
"""Seconds after which a turn without an answer counts as lost."""
INTERVAL: Final = 0.5
"""Seconds from one question of the canary to the next."""
CANARY_TURNS: Final = 60
"""After so many turns the canary looks at the whole history."""
CONVERSATION: Final = 25
"""Turns of a talker in one session."""
REPEATED: Final = 0.1
"""The share of a talker's requests that repeat an earlier one."""
AT_ONCE: Final = 32
"""Reads at a time, when all is compared in the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tenant:
    """Whom a client works for."""

    name: str
    """Begins the ids of its sessions."""
    api_key: str
    """What its calls are made with."""


@asynccontextmanager
async def opened(address: str, tenant: Tenant, *, patient: bool = True) -> AsyncIterator[MCPClient]:
    """A client of a tenant, which tries again if it is ``patient``. All clients of this load are made here."""
    async with MCPClient(address, api_key=tenant.api_key, retry=RETRY if patient else None) as client:
        yield client


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """A question that was answered."""

    question: str
    request_id: str
    turn: str
    """The turn's full name."""
    begin: float
    end: float
    """By the monotonic clock."""


class Conversation:
    """One session, and what was acknowledged in it.

    Args:
        client: has the right to it.
        session: its id.

    Attributes:
        exchanges: in order.
    """

    def __init__(self, client: MCPClient, session: str) -> None:
        self.exchanges: list[Exchange] = []
        self._client = client
        self._id = session
        self._name = f"sessions/{session}"
        self._number = 0

    async def begin(self) -> None:
        """Create the session."""
        await self._client.create_session(self._id, request_id=self._id, timeout=PATIENCE)

    async def ask(self, generator: random.Random) -> None:
        """Ask something new, and note the answer.

        Raises:
            AssertionError: the answer is wrong.
            MCPError: there is none.
        """
        question = f"{generator.randrange(1, 30)} {generator.choice([0, 1, 1, 5])} {self._id} {self._number}"
        self._number += 1
        begin, attempt = time.monotonic(), 0
        while True:
            request_id = f"{self._id}-{self._number}-{attempt}"
            try:
                turn = await self._send(question, request_id, streamed=self._number % 2 == 0)
                break
            except TryLater as error:
                if not error.details.final:
                    raise
                attempt += 1  # a failure that is recorded as the end of its turn
        self.exchanges.append(
            Exchange(question=question, request_id=request_id, turn=turn, begin=begin, end=time.monotonic())
        )

    async def repeat(self, generator: random.Random) -> None:
        """Send an earlier request again, which is the same turn."""
        earlier = generator.choice(self.exchanges)
        turn = await self._send(earlier.question, earlier.request_id, streamed=generator.random() < 0.5)
        assert turn == earlier.turn, f"the request {earlier.request_id} became a second turn"

    async def _send(self, question: str, request_id: str, *, streamed: bool) -> str:
        """Return the name of the turn."""
        if streamed:
            async with self._client.stream_chat(
                question, session=self._name, request_id=request_id, timeout=PATIENCE
            ) as stream:
                async for _ in stream:
                    pass
            text, turn = stream.text, stream.turn  # the pieces of an attempt that was killed do not count
        else:
            reply = await self._client.chat(question, session=self._name, request_id=request_id, timeout=PATIENCE)
            text, turn = reply.text, reply.turn
        assert text == "".join(answer(question)), f"{question!r} was answered {text!r}"
        return turn

    async def wrong(self, *, turns: bool = False) -> list[str]:
        """Compare the stored history with what was acknowledged, and with ``turns`` each stored turn as well."""
        expected = [text for one in self.exchanges for text in (one.question, "".join(answer(one.question)))]
        found = [message.text async for message in self._client.list_messages(self._name, timeout=PATIENCE)]
        wrong = []
        if found != expected:
            missing, more = [one for one in expected if one not in found], [one for one in found if one not in expected]
            wrong.append(
                f"{self._name}: {len(found)} messages instead of {len(expected)}; {len(missing)} are missing"
                f" ({missing[:1]}), {len(more)} were never acknowledged ({more[:1]})"
            )
        for exchange in self.exchanges if turns else ():
            stored = await self._client.get_turn(exchange.turn, timeout=PATIENCE)
            text = stored.message.text if stored.message else ""
            if stored.state != "succeeded" or text != "".join(answer(exchange.question)):
                wrong.append(f"{exchange.turn}: {stored.state} with the text {text!r}")
        return wrong


class Canary:
    """Asks one session something twice a second, as long as it may.

    Attributes:
        conversation: the session.
        problems: what was wrong.
    """

    def __init__(self, conversation: Conversation, generator: random.Random) -> None:
        self.conversation = conversation
        self.problems: list[str] = []
        self._random = generator

    async def run(self, stopped: asyncio.Event) -> None:
        """Go on until it is stopped."""
        due = time.monotonic()
        while not stopped.is_set():
            try:
                await self.conversation.ask(self._random)
                if len(self.conversation.exchanges) % CANARY_TURNS == 0:
                    self.problems += await self.conversation.wrong()
            except (AssertionError, MCPError) as error:  # reported at the end, with all that is found later
                self.problems.append(f"the canary: {type(error).__name__}: {error}")
            due = max(due + INTERVAL, time.monotonic())
            await asyncio.sleep(due - time.monotonic())


class Talker:
    """Talks in one session after the other, and repeats itself at times.

    Args:
        client: of its tenant.
        tenant: begins the ids of the sessions.
        generator: decides.

    Attributes:
        conversations: all of them.
        problems: what was wrong.
    """

    def __init__(self, client: MCPClient, tenant: Tenant, generator: random.Random) -> None:
        self.conversations: list[Conversation] = []
        self.problems: list[str] = []
        self._client = client
        self._tenant = tenant
        self._random = generator

    async def run(self, stopped: asyncio.Event) -> None:
        """Go on until it is stopped."""
        while not stopped.is_set():
            try:
                await self._talk()
            except (AssertionError, MCPError) as error:  # reported at the end, with all that is found later
                self.problems.append(f"{self._tenant.name}: {type(error).__name__}: {error}")
            await asyncio.sleep(self._random.uniform(0.05, 0.2))

    async def _talk(self) -> None:
        if not self.conversations or len(self.conversations[-1].exchanges) >= CONVERSATION:
            conversation = Conversation(self._client, f"{self._tenant.name}-{len(self.conversations)}")
            await conversation.begin()
            self.conversations.append(conversation)
        elif self.conversations[-1].exchanges and self._random.random() < REPEATED:
            await self.conversations[-1].repeat(self._random)
        else:
            await self.conversations[-1].ask(self._random)


async def compared(conversations: list[Conversation]) -> list[str]:
    """What is wrong in any of them, turn by turn."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def compare(conversation: Conversation) -> list[str]:
        async with limit:
            try:
                return await conversation.wrong(turns=True)
            except MCPError as error:
                return [f"what was acknowledged cannot be read: {error}"]

    return [wrong for all in await asyncio.gather(*map(compare, conversations)) for wrong in all]


async def unbalanced(client: MCPClient, tenant: Tenant) -> list[str]:
    """What is wrong with the sessions that a tenant sees, and with what the ledger says of their turns."""
    attempts = tokens = 0
    wrong = []
    async for session in client.list_sessions(page_size=1000):
        if not session.id.startswith(tenant.name):
            wrong.append(f"{tenant.name} sees {session.name}")
        async for turn in client.list_turns(session, page_size=1000):
            attempts += len(turn.attempts)
            tokens += turn.usage.input_tokens + turn.usage.output_tokens
    rows = [row async for row in client.query_usage()]
    booked = (sum(row.attempts for row in rows), sum(row.usage.input_tokens + row.usage.output_tokens for row in rows))
    if booked != (attempts, tokens):
        wrong.append(f"{tenant.name}: {attempts} attempts and {tokens} tokens, in the ledger {booked}")
    return wrong
