"""Callers with random faults: each has a session of its own, and knows what must be in it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from tests.faults.caller import OPTIONS, Received, persist, reason_of
from tests.faults.proxy import Plan, Proxy, at_random, once
from tests.soak.server import answer
from tests.wire import Wire, text_of, user

PATIENCE: Final = 60.0
"""Seconds after which a call that is still without an end counts as lost."""
FAULTY: Final = 0.5
"""The share of the connections that suffer a fault."""
REACH: Final = 4000
"""How far into a connection a fault may be, in bytes."""


class Caller:
    """One session, and what its owner does to it, one random thing after the other.

    Args:
        wire: stubs of a connection that suffers nothing.
        address: of the server.
        through: of a proxy to it, for all that must go through faults.
        name: the id of the session.
        generator: decides.
        counts: of what was done, by name.
    """

    def __init__(
        self, wire: Wire, address: str, through: str, name: str, generator: random.Random, counts: Counter[str]
    ) -> None:
        self._wire = wire
        self._address = address
        self._through = through
        self._name = name
        self._random = generator
        self._counts = counts
        self._serial = 0
        self._answered: dict[str, str] = {}
        """The questions whose answers were seen to be complete."""
        self._never: set[str] = set()
        """The questions that were seen to end otherwise."""

    async def run(self, seconds: float) -> None:
        """Go on for so long, look at all of it, and delete the session."""
        end = asyncio.get_running_loop().time() + seconds
        await self._create()
        doings: list[Callable[[], Awaitable[None]]] = [
            self._chat, self._chat, self._chat, self._cancel, self._leave, self._race, self._watch, self._fork,
            self._append, self._begin_anew, self._kill_connection,
        ]  # fmt: skip
        while asyncio.get_running_loop().time() < end:
            doing = self._random.choice(doings)
            async with asyncio.timeout(PATIENCE):
                await doing()
            self._counts[doing.__name__.lstrip("_")] += 1
        await self._check()
        await self._delete()

    # -- what it does -------------------------------------------------------------------------------------------------

    async def _chat(self) -> None:
        """Through faults, until it is answered."""
        await self._persist(self._request())

    async def _cancel(self) -> None:
        """Stop a turn in the middle, by its name."""
        request = self._request()
        stream = self._wire.chat.StreamChat(request)
        turn = await self._begun(stream)
        await asyncio.sleep(self._random.uniform(0, 0.05))
        ended = await self._wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn))
        stream.cancel()
        self._note(request, ended)

    async def _leave(self) -> None:
        """Read a little, and go away; the turn ends as was wished."""
        request = self._request(
            on_disconnect=self._random.choice(
                [
                    generation_pb2.ON_DISCONNECT_CANCEL,
                    generation_pb2.ON_DISCONNECT_CONTINUE,
                    generation_pb2.ON_DISCONNECT_CANCEL_AFTER_GRACE,
                ]
            )
        )
        stream = self._wire.chat.StreamChat(request)
        turn = await self._begun(stream)
        stream.cancel()
        self._note(request, await self._end_of(turn))

    async def _race(self) -> None:
        """Several calls at once, which wait for one another, make way, or are refused."""
        policies = [generation_pb2.IF_BUSY_REJECT, generation_pb2.IF_BUSY_QUEUE, generation_pb2.IF_BUSY_CANCEL_RUNNING]
        requests = [self._request(if_busy=self._random.choice(policies)) for _ in range(self._random.randrange(2, 6))]
        await asyncio.gather(*[self._persist(request) for request in requests])

    async def _watch(self) -> None:
        """Many readers, through faults and without, some of which go away."""
        request = self._request()
        calls = [asyncio.create_task(self._persist(request)) for _ in range(3)]
        stream = self._wire.chat.StreamChat(request)
        turn = await self._begun(stream)
        viewer = self._wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=turn))
        await viewer.read()
        viewer.cancel()
        stream.cancel()
        await asyncio.gather(*calls)

    async def _fork(self) -> None:
        """Branch off, talk on the branch, and delete it."""
        before = await self._history()
        count = self._random.randrange(len(before) + 1)
        fork = await self._wire.sessions.ForkSession(
            session_pb2.ForkSessionRequest(name=self._session, message_count=count, request_id=self._new())
        )
        # However long a fault keeps its caller away, it is to be answered.
        request = self._request(on_disconnect=generation_pb2.ON_DISCONNECT_CONTINUE)
        request.session = fork.name
        await persist(self._through, request, patience=PATIENCE, timeout=5)
        texts = [text for _, text in await self._history(fork.name)]
        assert texts[:-2] == [text for _, text in before[:count]]
        await self._wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=fork.name))
        assert await self._history() == before

    async def _append(self) -> None:
        """The same messages twice, which adds them once."""
        question = self._question()
        request = session_pb2.AppendMessagesRequest(
            parent=self._session, messages=[user(question), user(f"{question}!")], request_id=self._new()
        )
        first = await self._wire.sessions.AppendMessages(request)
        assert (await self._wire.sessions.AppendMessages(request)).first_index == first.first_index
        history = [text for _, text in await self._history()]
        assert (history.count(question), history.count(f"{question}!")) == (1, 1)

    async def _begin_anew(self) -> None:
        """Delete the session while a turn runs on it, and begin another of the same name."""
        await self._check()
        stream = self._wire.chat.StreamChat(self._request())
        await self._begun(stream)
        await self._delete()
        try:
            while await stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            assert reason_of(error) == "SESSION_NOT_FOUND", error
        await self._create()

    async def _kill_connection(self) -> None:
        """Lose the connection at once, and with it the interest in the answer."""
        request = self._request()
        async with (
            Proxy(self._address, once()) as proxy,
            grpc.aio.insecure_channel(proxy.address, options=OPTIONS) as channel,
        ):
            turn = await self._begun(Wire(None, channel).chat.StreamChat(request))  # type: ignore[arg-type]  # elsewhere
            proxy.cut_all()
            self._note(request, await self._end_of(turn))

    # -- what it knows ------------------------------------------------------------------------------------------------

    @property
    def _session(self) -> str:
        return f"sessions/{self._name}"

    def _new(self) -> str:
        self._serial += 1
        return f"{self._name}-{self._serial}"

    def _question(self) -> str:
        words, pause = self._random.randrange(1, 30), self._random.choice([0, 1, 1, 5, 10])
        return f"{words} {pause} {self._new()}"

    def _request(self, **fields: Any) -> chat_pb2.ChatRequest:
        return chat_pb2.ChatRequest(
            session=self._session, messages=[user(self._question())], request_id=self._new(), **fields
        )

    async def _persist(self, request: chat_pb2.ChatRequest) -> None:
        question = text_of(request.messages[0])
        try:
            received = await persist(self._through, request, patience=PATIENCE, timeout=5, pause=0.02)
        except grpc.aio.AioRpcError as error:
            # What several calls on one session may do to one another, and what a caller that is away too long meets.
            assert reason_of(error) in ("OVERLOADED", "SESSION_BUSY", "TURN_CANCELLED"), error
            self._never.add(question)
            return
        assert received.text == "".join(answer(question))
        self._answered[question] = received.text

    async def _begun(self, stream: Any) -> str:
        received = Received()
        while not received.turn:
            received.add(await stream.read())
        return received.turn

    async def _end_of(self, turn: str) -> turn_pb2.Turn:
        while True:
            got: turn_pb2.Turn = await self._wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=turn))
            if got.state not in (turn_pb2.TURN_STATE_RUNNING, turn_pb2.TURN_STATE_QUEUED):
                return got
            await asyncio.sleep(0.01)

    def _note(self, request: chat_pb2.ChatRequest, turn: turn_pb2.Turn) -> None:
        question = text_of(request.messages[0])
        whole = "".join(answer(question))
        if turn.state == turn_pb2.TURN_STATE_SUCCEEDED:
            assert text_of(turn.message) == whole
            self._answered[question] = whole
        else:
            assert turn.state == turn_pb2.TURN_STATE_CANCELLED, turn
            assert whole.startswith(text_of(turn.message))
            self._never.add(question)

    async def _history(self, session: str = "") -> Sequence[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        token = ""
        while True:
            page = await self._wire.sessions.ListMessages(
                session_pb2.ListMessagesRequest(parent=session or self._session, page_size=1000, page_token=token)
            )
            found += [(message.turn, text_of(message)) for message in page.messages]
            token = page.next_page_token
            if not token:
                return found

    async def _check(self) -> None:
        """Each answered question is there once, with its answer, and no other is; nobody holds the session."""
        history = await self._history()
        texts = [text for _, text in history]
        stored = {
            texts[n]: texts[n + 1]
            for n in range(len(history) - 1)
            if history[n][0] and history[n][0] == history[n + 1][0]
        }
        assert stored == self._answered
        assert len([turn for turn, _ in history if turn]) == 2 * len(stored), "half an exchange, or one twice"
        assert not self._never & set(texts)
        got = await self._wire.sessions.GetSession(session_pb2.GetSessionRequest(name=self._session))
        assert got.active_turn == ""

    async def _create(self) -> None:
        self._answered, self._never = {}, set()
        await self._wire.sessions.CreateSession(
            session_pb2.CreateSessionRequest(session_id=self._name, request_id=self._new())
        )

    async def _delete(self) -> None:
        await self._wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=self._session))


async def soak(address: str, *, phase: str, sessions: int, seconds: float, seed: int, counts: Counter[str]) -> None:
    """So many callers at once, for so long; ``phase`` begins the ids of their sessions."""
    generator = random.Random(seed)  # noqa: S311  # no secret
    plan: Plan = at_random(random.Random(f"{seed}/{phase}"), share=FAULTY, reach=REACH)  # noqa: S311  # no secret
    async with (
        Proxy(address, plan) as proxy,
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
        asyncio.TaskGroup() as group,
    ):
        wire = Wire(None, channel)  # type: ignore[arg-type]  # it runs elsewhere
        cutting = group.create_task(_cut(proxy, generator))
        callers = []
        for number in range(sessions):
            own = random.Random(f"{seed}/{phase}/{number}")  # noqa: S311  # no secret
            caller = Caller(wire, address, proxy.address, f"{phase}-{number}", own, counts)
            callers.append(group.create_task(caller.run(seconds)))
        await asyncio.wait(callers)
        cutting.cancel()
        counts["connections"] += proxy.connections


async def _cut(proxy: Proxy, generator: random.Random) -> None:
    """From time to time all connections go at once."""
    while True:
        await asyncio.sleep(generator.uniform(0.5, 3))
        proxy.cut_all()
