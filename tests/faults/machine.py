"""A state machine that does to a real server, over real gRPC, what callers may do, and knows what must be true then."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

import grpc
import msgspec
from google.protobuf import duration_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contextprotocol.v1 import (
    chat_pb2,
    generation_pb2,
    key_pb2,
    key_pb2_grpc,
    session_pb2,
    turn_pb2,
    usage_pb2,
    usage_pb2_grpc,
)
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.plugins import built_in
from mcp_server.settings import Config, LimitSettings, SessionSettings, TenantSettings, TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.shared_memory import SharedMemoryStore
from mcp_server.testing import running
from mcp_server.values import Capabilities, Model
from tests.faults.caller import Received
from tests.faults.model import MAX_QUEUED, RETENTION, SECOND, Receipt, Session, State, Turn, World, begin
from tests.wire import Refused, Wire, text_of, user

REJECT: Final = generation_pb2.IF_BUSY_REJECT
QUEUE: Final = generation_pb2.IF_BUSY_QUEUE
CANCEL_RUNNING: Final = generation_pb2.IF_BUSY_CANCEL_RUNNING
CANCEL: Final = generation_pb2.ON_DISCONNECT_CANCEL
CONTINUE: Final = generation_pb2.ON_DISCONNECT_CONTINUE
FOREVER: Final = 86_400
"""Seconds that turns may run: time may pass quickly here."""

ids = st.sampled_from(["a", "b", "c"])
keys = st.sampled_from(["", "k1", "k2", "k3"])
numbers = st.integers(0, 99)
"""Each picks one of those that there are."""
Picked = TypeVar("Picked", Session, Turn)
ttls = st.sampled_from([None, 100])


class Teller:
    """Says how its answer begins and, where it is asked to, waits there.

    Attributes:
        calls: how often it was asked each question.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def go_on(self, question: str) -> None:
        """Say the rest."""
        self._gates[question].set()

    def forget(self) -> None:
        """Wait again where it was allowed to go on."""
        self._gates.clear()

    async def models(self) -> Sequence[Model]:
        return [Model(name="teller", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        question = request.messages[-1].text
        self.calls[question] += 1
        yield begin(question)
        if question.startswith("slow"):
            await self._gates[question].wait()
        yield str(len(request.messages))
        yield Finish()

    async def close(self) -> None: ...


class Machine(RuleBasedStateMachine):
    """Every call of the contract that changes anything, on a few sessions and keys, so that they meet often."""

    store: ClassVar[Literal["memory", "sqlite"]] = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.teller = Teller()
        self.serial = 0
        self.touched: set[str] = set()
        self.runner = asyncio.Runner()
        self.server = contextlib.AsyncExitStack()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "0.db"
        self.wire: Wire
        """The server on which turns run that take a while."""
        self.plain: Wire
        """The server of the calls that are answered at once."""

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)

    @initialize()
    def start(self) -> None:
        """A server with a session of each kind: one lasts, one expires, one has a history."""
        self.do(self._start())
        self.create("a", "", None)
        self.create("b", "", 100)
        self.create("c", "", None)
        for _ in range(3):
            self.append("c", "", again=False)

    async def _start(self) -> None:
        self.wire = self.plain = await self._serve()

    async def _serve(self, **arguments: Any) -> Wire:
        """One server and its stubs."""
        server = await self.server.enter_async_context(
            running(self._config(), providers={"teller": self.teller}, clock=lambda: self.world.now, **arguments)
        )
        channel = await self.server.enter_async_context(grpc.aio.insecure_channel(server.address))
        return Wire(server, channel)

    def _config(self) -> Config:
        return msgspec.structs.replace(
            settings(default_model="teller/teller"),
            store=built_in("stores", self.store)(path=self.path),
            sessions=SessionSettings(sweep_interval=FOREVER),
            limits={"wide": LimitSettings(concurrent_turns=10**6, tokens_per_day=10**12)},
            tenants={"*": TenantSettings(limits="wide")},
            turns=TurnSettings(
                timeout=FOREVER, retention=RETENTION, max_queued=MAX_QUEUED, journal_interval=0.05, disconnect_grace=60
            ),
        )

    def teardown(self) -> None:
        """All of it once more, and the end."""
        try:
            if hasattr(self, "wire"):
                self.touched = set(self.world.sessions)
                self.check()
        finally:
            self.do(self.server.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)

    # -- what must be true --------------------------------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        """The sessions that the last step was about are as they must be."""
        touched, self.touched = self.touched, set()
        if touched:
            self.do(self._check(touched))

    async def _check(self, touched: set[str]) -> None:
        for session_id in sorted(touched):
            session = self.world.session(session_id)
            name = session_pb2.GetSessionRequest(name=f"sessions/{session_id}")
            if session is None:
                await self._refused("SESSION_NOT_FOUND", self.wire.sessions.GetSession(name))
                continue
            got = await self.wire.sessions.GetSession(name)
            active = session.running.name if session.running is not None else ""
            expected = (session.uid, len(session.history), active)
            assert (got.uid, got.message_count, got.active_turn) == expected, (got, expected)
            assert got.etag == session.etag, "the etag has to change when the content does, and only then"
            assert await self.wire.history(session.name, page_size=1000) == session.history
            listed = (await self.wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent=session.name))).turns
            assert {turn.name: State(turn.state) for turn in listed} == {
                turn.name: turn.state for turn in session.turns
            }
            for turn in session.turns:
                assert self.teller.calls[turn.question] == turn.calls, turn.question

        await self._check_usage()

    async def _check_usage(self) -> None:
        """Every call to the provider that has ended is in the ledger once, also those of deleted sessions. Each turn
        that runs or waits has one hold."""
        running = [session for session in self.world.live if session.running is not None]
        expected = sum(self.teller.calls.values()) - len(running)
        holds = len(running) + sum(len(session.waiting) for session in self.world.live)
        async with asyncio.timeout(10):
            while await self._booked() < expected or await self._held() > holds:  # noqa: ASYNC110  # nothing announces the end of a turn without readers
                await asyncio.sleep(0.01)
        assert await self._booked() == expected
        assert await self._held() == holds

    async def _held(self) -> int:
        """How many holds the tenant has."""
        keys: Any = key_pb2_grpc.KeyServiceStub(self.wire.channel)
        states = (await keys.WhoAmI(key_pb2.WhoAmIRequest())).limits
        (used,) = [state.used for state in states if state.limit == "concurrent_turns"]
        assert isinstance(used, int)
        return used

    async def _booked(self) -> int:
        """How many calls to the provider are in the ledger."""
        usage: Any = usage_pb2_grpc.UsageServiceStub(self.wire.channel)
        response = await usage.QueryUsage(usage_pb2.QueryUsageRequest())
        return sum(row.attempts for row in response.rows)

    async def _refused(self, reason: str, call: Any) -> Refused:
        with Refused() as refused:
            await call
        assert refused.reason == reason, (refused.reason, refused.details)
        return refused

    def _text(self, kind: str) -> str:
        self.serial += 1
        return f"{kind} {self.serial}"

    async def _changed(self, session: Session) -> None:
        """The session's content has changed: so has its etag."""
        got = await self.wire.sessions.GetSession(session_pb2.GetSessionRequest(name=session.name))
        assert got.etag != session.etag
        session.etag = got.etag

    # -- sessions -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.live) < 3)
    @rule(session_id=ids, key=keys, ttl=ttls)
    def create(self, session_id: str, key: str, ttl: int | None) -> None:
        """Begin a session."""
        draft = session_pb2.Session(ttl=None if ttl is None else duration_pb2.Duration(seconds=ttl))
        request = session_pb2.CreateSessionRequest(session_id=session_id, session=draft, request_id=key)
        call = self.plain.sessions.CreateSession
        self.do(self._begin_session(session_id, key, ("create", session_id, ttl), ttl, [], call, request))

    @rule(parent_id=ids, session_id=ids, key=keys, count=st.sampled_from([None, 0, 2, 3]))
    def fork(self, parent_id: str, session_id: str, key: str, count: int | None) -> None:
        """Begin a session with the first messages of another."""
        request = session_pb2.ForkSessionRequest(
            name=f"sessions/{parent_id}", session_id=session_id, message_count=count, request_id=key
        )
        parent = self.world.session(parent_id)
        history = None if parent is None else parent.history[:count]
        if history is not None and count is not None and len(history) < count:
            history = None
        problem = "SESSION_NOT_FOUND" if parent is None else "INVALID_ARGUMENT"
        body = ("fork", parent_id, session_id, count)
        call, ttl = self.plain.sessions.ForkSession, parent.ttl if parent is not None else None
        self.do(self._begin_session(session_id, key, body, ttl, history, call, request, problem))

    async def _begin_session(
        self,
        session_id: str,
        key: str,
        body: Any,
        ttl: int | None,
        history: list[tuple[str, str]] | None,
        call: Any,
        request: Any,
        problem: str = "",
    ) -> None:
        world = self.world
        self.touched.add(session_id)
        receipt = world.receipts.get(key) if key else None
        if receipt is not None:
            there = world.session(receipt.session.id)
            if receipt.body != body:
                await self._refused("REQUEST_ID_REUSED", call(request))
            elif there is receipt.session:
                assert (await call(request)).uid == there.uid
            else:
                await self._refused("SESSION_NOT_FOUND", call(request))
            return
        if world.session(session_id) is not None:
            await self._refused("SESSION_EXISTS", call(request))
            return
        if history is None:
            await self._refused(problem, call(request))
            return
        got = await call(request)
        session = Session(id=session_id, ttl=ttl, uid=got.uid, etag=got.etag, history=list(history))
        session.touch(world.now)
        world.sessions[session_id] = session
        if key:
            world.receipts[key] = Receipt(body=body, session=session, time=world.now)

    @rule(session_id=ids, right=st.booleans())
    def update(self, session_id: str, right: bool) -> None:
        """Change a label, with an etag that is right or not."""
        self.do(self._update(session_id, right))

    async def _update(self, session_id: str, right: bool) -> None:
        self.touched.add(session_id)
        session = self.world.session(session_id)
        changed = session_pb2.Session(name=f"sessions/{session_id}", labels={"n": self._text("v")})
        changed.etag = session.etag if session is not None and right else "wrong"
        call = self.plain.sessions.UpdateSession(
            session_pb2.UpdateSessionRequest(session=changed, update_mask=FieldMask(paths=["labels"]))
        )
        if session is None:
            await self._refused("SESSION_NOT_FOUND", call)
        elif not right:
            await self._refused("ETAG_MISMATCH", call)
        else:
            await call
            session.touch(self.world.now)
            await self._changed(session)

    @rule(session_id=ids, key=keys, again=st.booleans())
    def append(self, session_id: str, key: str, again: bool) -> None:
        """Add a message, or do it once more."""
        self.do(self._append(session_id, key, again))

    async def _append(self, session_id: str, key: str, again: bool) -> None:
        self.touched.add(session_id)
        session = self.world.session(session_id)
        receipt = session.receipts.get(key) if session is not None else None
        text = receipt.body if receipt is not None and again else self._text("append")
        call = self.plain.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent=f"sessions/{session_id}", messages=[user(text)], request_id=key)
        )
        if session is None:
            await self._refused("SESSION_NOT_FOUND", call)
        elif receipt is not None and not again:
            await self._refused("REQUEST_ID_REUSED", call)
        elif receipt is not None:
            assert (await call).first_index == receipt.index
        elif session.running is not None:
            refused = await self._refused("SESSION_BUSY", call)
            assert refused.metadata["turn"] == session.running.name
        else:
            index = (await call).first_index
            assert index == len(session.history)
            session.history.append(("USER", text))
            session.touch(self.world.now)
            await self._changed(session)
            if key:
                session.receipts[key] = Receipt(body=text, session=session, time=self.world.now, index=index)

    @rule(session_id=ids, count=st.sampled_from([0, 1, 2, 3, 4]))
    def rewind(self, session_id: str, count: int) -> None:
        """Keep only the first messages."""
        self.do(self._rewind(session_id, count))

    async def _rewind(self, session_id: str, count: int) -> None:
        self.touched.add(session_id)
        session = self.world.session(session_id)
        call = self.plain.sessions.RewindSession(
            session_pb2.RewindSessionRequest(name=f"sessions/{session_id}", message_count=count)
        )
        if session is None:
            await self._refused("SESSION_NOT_FOUND", call)
        elif session.running is not None:
            await self._refused("SESSION_BUSY", call)
        elif count > len(session.history):
            await self._refused("INVALID_ARGUMENT", call)
        else:
            await call
            session.touch(self.world.now)
            if count < len(session.history):
                del session.history[count:]
                await self._changed(session)

    @precondition(lambda self: len(self.world.live) > 1)
    @rule(session_id=ids)
    def delete(self, session_id: str) -> None:
        """Delete a session; its turns end."""
        self.do(self._delete(session_id))

    async def _delete(self, session_id: str) -> None:
        self.touched.add(session_id)
        session = self.world.session(session_id)
        call = self.wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=f"sessions/{session_id}"))
        if session is None:
            await self._refused("SESSION_NOT_FOUND", call)
            return
        await call
        del self.world.sessions[session_id]
        for turn in session.turns:
            if turn.stream is not None:
                await self._refused("SESSION_NOT_FOUND", self._read(turn))
            await self._refused("TURN_NOT_FOUND", self.wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=turn.name)))

    # -- turns --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.live)
    @rule(number=numbers, key=keys)
    def quick(self, number: int, key: str) -> None:
        """A chat that is answered at once."""
        self.do(self._quick(self._pick(self.world.live, number), key))

    async def _quick(self, session: Session, key: str) -> None:
        request = chat_pb2.ChatRequest(session=session.name, messages=[user(self._text("quick"))], request_id=key)
        call = self.plain.chat.Chat(request)
        if session.by_key(key) is not None:
            await self._refused("REQUEST_ID_REUSED", call)
        elif session.running is not None:
            refused = await self._refused("SESSION_BUSY", call)
            assert refused.metadata["turn"] == session.running.name
        else:
            turn = Turn(request=request, session=session)
            self.world.run(turn)
            session.turns.append(turn)
            response = await call
            turn.received.turn = response.turn
            turn.received.completed = response.completed
            assert text_of(response.completed.message) == turn.answer
            turn.received.text = turn.answer
            await self._succeeded(turn)

    @precondition(lambda self: self.world.live)
    @rule(
        number=numbers,
        key=keys,
        if_busy=st.sampled_from([REJECT, QUEUE, CANCEL_RUNNING]),
        on_disconnect=st.sampled_from([CANCEL, CONTINUE]),
    )
    def begin_slow(self, number: int, key: str, if_busy: Any, on_disconnect: Any) -> None:
        """A chat that goes on until it is let end."""
        session = self._pick(self.world.live, number)
        request = chat_pb2.ChatRequest(
            session=session.name,
            messages=[user(self._text("slow"))],
            request_id=key,
            if_busy=if_busy,
            on_disconnect=on_disconnect,
        )
        self.do(self._begin_slow(session, request))

    async def _begin_slow(self, session: Session, request: chat_pb2.ChatRequest) -> None:
        if session.by_key(request.request_id) is not None:
            await self._refused("REQUEST_ID_REUSED", self.wire.chat.StreamChat(request).read())
        else:
            turn = Turn(request=request, session=session)
            if await self._enter(turn):
                session.turns.append(turn)

    async def _enter(self, turn: Turn) -> bool:
        """Send the request of a turn that is new, or was interrupted; whether it was let in."""
        session, request = turn.session, chat_pb2.ChatRequest()
        request.CopyFrom(turn.request)
        if turn.received.sequence is not None:
            request.after_sequence = turn.received.sequence
        stream = self.wire.chat.StreamChat(request)
        before = session.running
        if before is None:
            turn.stream = stream
            await self._runs(turn)
            return True
        if request.if_busy == REJECT:
            refused = await self._refused("SESSION_BUSY", stream.read())
            assert refused.metadata["turn"] == before.name
            return False
        if len(session.waiting) == MAX_QUEUED:
            refused = await self._refused("OVERLOADED", stream.read())
            assert refused.retry_after == 1
            return False
        turn.stream, turn.state = stream, State.QUEUED
        session.touch(self.world.now)
        position = 1 if request.if_busy == CANCEL_RUNNING else len(session.waiting) + 1
        if not turn.received.turn:
            event = await stream.read()
            assert event.queued.position == position, event
            turn.received.add(event)
        session.waiting.insert(position - 1, turn)
        if request.if_busy == CANCEL_RUNNING:
            await self._ended(before, State.CANCELLED, "TURN_CANCELLED")
        return True

    async def _runs(self, turn: Turn) -> None:
        """It has its session: its caller hears how the answer begins."""
        self.world.run(turn)
        # Where nobody listens, somebody does for a moment.
        stream = turn.stream or self._watch(turn)
        while turn.received.text != begin(turn.question) or self.teller.calls[turn.question] != turn.calls:
            event = await stream.read()
            assert event is not grpc.aio.EOF
            turn.received.add(event)
        if turn.stream is None:
            stream.cancel()

    def _watch(self, turn: Turn) -> Any:
        request = turn_pb2.StreamTurnRequest(name=turn.name, after_sequence=turn.received.sequence)
        return self.wire.turns.StreamTurn(request)

    async def _read(self, turn: Turn) -> None:
        """Hear a turn's stream to its end."""
        while (event := await turn.stream.read()) is not grpc.aio.EOF:
            turn.received.add(event)

    async def _succeeded(self, turn: Turn) -> None:
        """It has ended well, and what that means."""
        assert turn.received.completed is not None
        assert turn.received.text == text_of(turn.received.completed.message) == turn.answer
        self.world.end(turn, State.SUCCEEDED)
        await self._changed(turn.session)
        assert turn.received.completed.session_etag == turn.session.etag
        await self._next(turn.session)

    async def _ended(self, turn: Turn, state: State, reason: str) -> None:
        """It has ended otherwise, and its reader was told."""
        if turn.stream is not None:
            await self._refused(reason, self._read(turn))
        self.world.end(turn, state)
        await self._next(turn.session)

    async def _next(self, session: Session) -> None:
        """Whoever waits first has its turn now."""
        if session.running is None and session.waiting:
            await self._runs(session.waiting.pop(0))

    def _pick(self, choices: list[Picked], number: int) -> Picked:
        """One of the sessions, or one of the turns."""
        picked = choices[number % len(choices)]
        self.touched.add(picked.name.split("/")[1])
        return picked

    @precondition(lambda self: any(session.running for session in self.world.live))
    @rule(number=numbers)
    def finish(self, number: int) -> None:
        """Let a running turn end; whoever has left comes back for the rest."""
        self.do(self._finish(self._pick([s.running for s in self.world.live if s.running is not None], number)))

    async def _finish(self, turn: Turn) -> None:
        if turn.stream is None:
            turn.stream = self._watch(turn)
        self.teller.go_on(turn.question)
        await self._read(turn)
        await self._succeeded(turn)

    @precondition(lambda self: self.world.turns)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        """Cancel any turn: before it runs, while it does, after its end."""
        self.do(self._cancel(self._pick(self.world.turns, number)))

    async def _cancel(self, turn: Turn) -> None:
        got = await self.wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn.name))
        if turn.state is State.INTERRUPTED:
            turn.state, turn.end_time = State.CANCELLED, self.world.now
        elif turn.live:
            await self._ended(turn, State.CANCELLED, "TURN_CANCELLED")
        assert State(got.state) is turn.state
        if turn.state is State.SUCCEEDED:
            assert text_of(got.message) == turn.answer

    @precondition(lambda self: any(turn.stream for turn in self.world.turns))
    @rule(number=numbers)
    def leave(self, number: int) -> None:
        """The only reader of a turn leaves it."""
        self.do(self._leave(self._pick([turn for turn in self.world.turns if turn.stream is not None], number)))

    async def _leave(self, turn: Turn) -> None:
        turn.stream.cancel()
        turn.stream = None
        if turn.request.on_disconnect == CANCEL:
            await self._gone(turn)
            await self._ended(turn, State.CANCELLED, "TURN_CANCELLED")

    async def _gone(self, turn: Turn) -> None:
        async with asyncio.timeout(10):
            while State((await self._get(turn)).state) in (State.QUEUED, State.RUNNING):
                continue

    async def _get(self, turn: Turn) -> turn_pb2.Turn:
        got: turn_pb2.Turn = await self.wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=turn.name))
        return got

    @precondition(lambda self: any(turn.request.request_id for turn in self.world.turns))
    @rule(number=numbers, other=st.booleans(), resume=st.booleans())
    def retry(self, number: int, other: bool, resume: bool) -> None:
        """The same request again, or another one with its key; from the start, or behind what was seen."""
        turn = self._pick([turn for turn in self.world.turns if turn.request.request_id], number)
        self.do(self._retry(turn, other, resume))

    async def _retry(self, turn: Turn, other: bool, resume: bool) -> None:
        request = chat_pb2.ChatRequest()
        request.CopyFrom(turn.request)
        if other:
            request.messages[0].parts[0].text = self._text("other")
            await self._refused("REQUEST_ID_REUSED", self.wire.chat.StreamChat(request).read())
            return
        if turn.state is State.INTERRUPTED:
            if not resume:
                turn.received = Received(turn=turn.name)
            await self._enter(turn)
            return
        received = Received()
        if resume and turn.received.sequence is not None:
            request.after_sequence = turn.received.sequence
            received = Received(text=turn.received.text, sequence=turn.received.sequence, turn=turn.name)
        stream = self.wire.chat.StreamChat(request)
        again = Turn(request=request, session=turn.session, received=received, stream=stream)
        if turn.state is State.CANCELLED:
            refused = await self._refused("TURN_CANCELLED", self._read(again))
            assert refused.trailers["grpc-retry-pushback-ms"] == "-1"
        elif turn.state is State.SUCCEEDED:
            await self._read(again)
            assert received.text == turn.answer
        elif turn.stream is not None:
            # A second reader, which comes as far as the first one has, and leaves.
            while received.turn == "" or received.text != turn.received.text:
                event = await stream.read()
                assert event is not grpc.aio.EOF
                received.add(event)
            stream.cancel()
        else:
            turn.stream, turn.received = stream, received
            while received.turn == "" or (turn.state is State.RUNNING and received.text != begin(turn.question)):
                event = await stream.read()
                assert event is not grpc.aio.EOF
                received.add(event)
        assert received.turn in ("", turn.name)

    @precondition(lambda self: any(_can_rerun(turn) for turn in self.world.turns))
    @rule(number=numbers, resume=st.booleans())
    def rerun(self, number: int, resume: bool) -> None:
        """The request of an interrupted turn again."""
        turn = self._pick([turn for turn in self.world.turns if _can_rerun(turn)], number)
        self.do(self._retry(turn, False, resume))

    # -- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 40, 101]))
    def advance(self, seconds: int) -> None:
        """Time goes by."""
        self.world.now += seconds * SECOND
        self.touched |= set(self.world.sessions)

    @rule()
    def sweep(self) -> None:
        """What has expired is removed."""
        self.touched |= set(self.world.sessions)
        self.do(self.wire.server.sweep())
        self.world.sweep()


def _can_rerun(turn: Turn) -> bool:
    return turn.state is State.INTERRUPTED and bool(turn.request.request_id)


class DurableMachine(Machine):
    """The same on a file, with the ends of servers."""

    store = "sqlite"

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        """The server ends, in an orderly way or by a crash, and another goes on with the file."""
        self.do(self._restart(crash))

    async def _restart(self, crash: bool) -> None:
        world = self.world
        live = [turn for session in world.live for turn in (session.running, *session.waiting) if turn is not None]
        if crash:
            # What a crash leaves on the disk: the files as they are while the server runs.
            self._copy()
        await self.wire.server.stop(grace=0)
        for turn in live:
            if turn.stream is not None:
                await self._refused("DRAINING", self._read(turn))
        await self.server.aclose()
        self.server = contextlib.AsyncExitStack()
        self.teller.forget()
        await self._start()
        await self.wire.server.sweep()
        for turn in live:
            got = await self._get(turn)
            stored = text_of(got.message)
            assert turn.received.text.startswith(stored)
            assert crash or stored == turn.received.text
            assert [attempt.outcome for attempt in got.attempts] == [State.INTERRUPTED.value] * turn.calls
            world.end(turn, State.INTERRUPTED)
        world.sweep()
        self.touched |= set(world.sessions)

    def _copy(self) -> None:
        new = self.folder / f"{int(self.path.stem) + 1}.db"
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"{self.path}{suffix}", f"{new}{suffix}")
        self.path = new


class SharedMachine(Machine):
    """The same with two servers over one store: calls that are answered at once go to one or the other."""

    async def _start(self) -> None:
        store = SharedMemoryStore(clock=lambda: self.world.now)
        self.wire = await self._serve(store=store)
        self.neighbour = await self._serve(store=store)
        self.plain = self.wire

    @rule()
    def switch(self) -> None:
        """From now on the other server answers."""
        self.plain = self.neighbour if self.plain is self.wire else self.wire

    @rule()
    def recover(self) -> None:
        """A server looks for turns whose server is gone, and finds none: whatever runs is alive."""
        self.do(self._recover())

    async def _recover(self) -> None:
        assert await self.neighbour.server._turns.recover() == 0
