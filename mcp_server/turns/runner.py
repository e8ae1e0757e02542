"""One turn that this process runs: claimed, planned, generated, committed; or failed, or cancelled.

It is a task of the server, not of the connection that asked for it. It writes to its
:class:`~mcp_server.turns.log.TurnLog`; the call that started it is the log's first reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, cast

import msgspec
import structlog

from mcp_server.errors import (
    Draining,
    InternalError,
    MCPError,
    ProviderStreamCut,
    StoreUnavailable,
    TurnCancelled,
    TurnInterrupted,
    TurnTimeout,
)
from mcp_server.interfaces import GenerateRequest
from mcp_server.models.failover import Course, OnCut, Watch
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger, told
from mcp_server.sessions.idempotency import check_digest
from mcp_server.sessions.manager import Claimed, Entry, MCPSessionManager
from mcp_server.turns.answer import Answer
from mcp_server.turns.journal import completed, log_of, pack, replay
from mcp_server.turns.log import Numbered, TurnLog, TurnReader
from mcp_server.values import (
    FINAL,
    SECOND,
    Attempt,
    Clock,
    IfBusy,
    MCPSession,
    Message,
    OnDisconnect,
    Queued,
    Role,
    Started,
    Struct,
    Switched,
    SwitchMode,
    Turn,
    TurnState,
    Window,
)

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")

SEQUENCE_BLOCK: Final = 1 << 22
"""How many numbers each process reserves for the events of a turn: more than an answer of the greatest length has."""
MAX_SEQUENCE: Final = (1 << 32) - 1


class Terms(Struct):
    """On which terms a call wants its turn."""

    timeout: int
    """Nanoseconds after which the turn fails, waiting included."""
    if_busy: IfBusy = IfBusy.REJECT
    """What happens if the session has a turn already."""
    after_sequence: int | None = None
    """Begin behind this event of a turn that is known by its ``request_id``; ``None``: the turn may be new."""


class Plan(Struct):
    """What a model is asked."""

    request: GenerateRequest
    """The question."""
    window: Window = Window()
    """What of the history is in it."""


class Work(Protocol):
    """What is particular to one kind of turn."""

    async def claim(self, turn: Turn, entry: Entry) -> Claimed:
        """Write the turn down and reserve its session. What it raises refuses the turn: then it never existed."""
        ...

    def course(self, session: MCPSession | None) -> Course:
        """The calls to providers that it may make. What it raises fails the turn."""
        ...

    async def plan(self, claimed: Claimed, target: Target, said: Message | None) -> Plan:
        """Decide what that model is asked; ``said`` is the beginning of the answer that it is to go on from. What it
        raises is the end of this attempt."""
        ...

    async def commit(self, turn: Turn, message: Message, events: bytes) -> tuple[Turn, Message]:
        """Write down the turn that succeeded, the last piece of its log and all that it brings, in one step; return the
        turn and its answer as they are stored."""
        ...


class Surroundings(Protocol):
    """What a turn needs of the others."""

    sessions: MCPSessionManager
    clock: Clock
    disconnect_grace: float

    def entry(self, live: LiveTurn) -> Entry:
        """On which terms it may have its session now."""
        ...

    def began(self, live: LiveTurn) -> None:
        """It exists."""
        ...

    def waits(self, live: LiveTurn) -> int:
        """It waits for its session; how many turns go before it."""
        ...

    def runs(self, live: LiveTurn) -> None:
        """It has its session."""
        ...

    def adopt(self, live: LiveTurn, turn_id: str) -> None:
        """It goes on as the turn with that id."""
        ...

    def ended(self, live: LiveTurn, *, existed: bool) -> None:
        """It has ended, or was refused before it existed."""
        ...


class _Phase(enum.Enum):
    """How far a turn is, as far as stopping it goes."""

    CLAIMING = enum.auto()
    """It is being written down: never left half done. A stop takes effect right after."""
    RUNNING = enum.auto()
    """It waits or generates. A stop takes effect at once."""
    ENDING = enum.auto()
    """How it ends is decided, and is being written down. A stop comes too late."""


class LiveTurn:
    """A turn that this process runs.

    Args:
        turns: the others.
        turn: the turn as it begins, if its request was never seen before.
        work: what it does.
        terms: how its call wants it.
    """

    def __init__(self, turns: Surroundings, turn: Turn, work: Work, terms: Terms) -> None:
        self.turn = turn
        """The turn as it is now, its message without parts."""
        self.if_busy = terms.if_busy
        """What happens if its session has a turn already."""
        self.log = TurnLog(self._abandoned)
        """Its events."""
        self.deleted = False
        """Whether its session was deleted: until it has ended, nobody finds it any more."""
        self.earlier_attempts = 0
        """How many of its calls to providers another process has made."""
        self._turns = turns
        self._work = work
        self._answer = Answer(self.log.append)
        self._ledger: Ledger | None = None
        self._failure: MCPError | None = None
        self._exists = self._doubtful = False
        self._phase = _Phase.CLAIMING
        self._stop: MCPError | None = None
        self._may_go = asyncio.Event() if terms.if_busy is not IfBusy.REJECT else None
        self._queued = False
        self._pieces: Sequence[bytes] = ()
        self._before: list[Numbered] = []
        self._grace: asyncio.TimerHandle | None = None
        self._journalled = 0
        self._journal: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(terms.timeout / SECOND, self._timed_out)
        self.task = asyncio.create_task(self._run(), name=turn.name)
        """Done when it has ended and all of it is written down."""

    # -- from outside -------------------------------------------------------------------------------------------------

    def reader(self, after_sequence: int) -> TurnReader:
        """One more reader of its events."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        return self.log.reader(after_sequence)

    @property
    def exists(self) -> bool:
        """Whether it has been written down."""
        return self._exists

    def snapshot(self) -> Turn:
        """The turn as it is now, with all that was said so far."""
        if self._ledger is None or self._ledger.present is None or self.turn.state is not TurnState.RUNNING:
            message = self.turn.message
            return self.turn if message is None else replace(self.turn, message=self._said(message))
        turn = self._so_far(self._ledger)
        return replace(turn, message=self._said(cast(Message, turn.message)))

    def cancel(self, error: MCPError) -> None:
        """Stop it with ``error``, unless it is about to end anyway."""
        if self._stop is None and self._phase is not _Phase.ENDING:
            self._stop = error
            if self._phase is _Phase.RUNNING:
                self.task.cancel()

    def go(self) -> None:
        """It waits for its session, and may have it now."""
        if self._may_go is not None:
            self._may_go.set()

    async def journal(self) -> None:
        """Write down what has happened since the last time."""
        last, ledger = self.log.last_sequence, self._ledger
        if self._phase is not _Phase.RUNNING or ledger is None or ledger.present is None or last == self._journalled:
            return
        self._journal = asyncio.get_running_loop().create_future()
        try:
            await self._turns.sessions.journal(self._so_far(ledger), self._unwritten())
        except Exception as raised:  # the next time writes it too
            log.error("turn not journalled", turn=self.turn.name, exc_info=raised)
        else:
            self._journalled, self._before = last, []
        finally:
            self._journal.set_result(None)
            self._journal = None

    # -- reasons to stop ----------------------------------------------------------------------------------------------

    def _abandoned(self) -> None:
        if self.turn.on_disconnect is OnDisconnect.CANCEL:
            self._cancel_unread()
        elif self.turn.on_disconnect is OnDisconnect.CANCEL_AFTER_GRACE:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._turns.disconnect_grace, self._cancel_unread)

    def _cancel_unread(self) -> None:
        name = self.turn.name
        self.cancel(TurnCancelled(f"the turn {name} was left by all its readers", metadata={"turn": name}))

    def _timed_out(self) -> None:
        name = self.turn.name
        self.cancel(
            TurnTimeout(
                f"the turn {name} did not end within its timeout: allow more time, or a shorter answer",
                metadata={"turn": name},
            )
        )

    # -- its life -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        error: MCPError | None = None
        try:
            claimed = await self._claim()
            if claimed is not None and self._stop is None:
                self._phase = _Phase.RUNNING
                await self._generate(claimed)
        except MCPError as raised:
            error = raised
        except asyncio.CancelledError:
            # Unless it was a stop of ours, the process ends without having drained.
            error = Draining("the server stopped before the turn ended: send the same request again", retry_after=1)
        except Exception as raised:  # noqa: BLE001  # a provider may raise anything; all of it is logged
            error = self._unexpected(raised)
        self._phase = _Phase.ENDING
        self._timer.cancel()
        if self._stop is not None:
            error = self._stop
            # The cancellation may still be on its way; it must not hit what is written next.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        try:
            await self._end(error)
        except Exception as raised:  # noqa: BLE001  # whatever it is, nobody may wait for this turn for ever
            self._turns.sessions.let_go(self.turn)
            self.log.end(self._unexpected(raised))
        if self._grace is not None:
            self._grace.cancel()
        self._turns.ended(self, existed=self._exists)

    async def _claim(self) -> Claimed | None:
        """Become RUNNING, however long that takes; ``None`` if the request was carried out before."""
        turns = self._turns
        while True:
            claimed = await self._work.claim(self.turn, turns.entry(self))
            if claimed.earlier:
                if not await self._take_over(claimed.turn):
                    return None
                continue
            self.turn = claimed.turn
            if not self._exists:
                self._exists = True
                if self._pieces:
                    self.log.earlier = partial(replay, self._pieces)
                turns.began(self)
            if self.turn.state is TurnState.RUNNING:
                turns.runs(self)
                return claimed
            await self._wait()

    async def _take_over(self, earlier: Turn) -> bool:
        """Be the turn that the request became before; whether there is anything left to do."""
        check_digest(earlier, self.turn.digest)
        pieces = await self._turns.sessions.events(earlier)
        if earlier.state in FINAL:
            self.log.refer(log_of(earlier, pieces))
            return False
        # Its process died. Numbers that it may have given are not given again.
        base = earlier.sequence_limit
        if base + SEQUENCE_BLOCK > MAX_SEQUENCE:
            raise TurnInterrupted(f"the turn {earlier.name} was interrupted too often: choose a new request_id")
        self._turns.adopt(self, earlier.id)
        self.turn = replace(earlier, sequence_limit=base + SEQUENCE_BLOCK)
        self.log.base = self._journalled = base
        self.earlier_attempts = len(earlier.attempts)
        self._pieces = pieces
        return True

    async def _wait(self) -> None:
        """Return when the session may be free."""
        assert self._may_go is not None
        if not self._queued:
            self._queued = True
            self.log.append(Queued(turn=self.turn.name, position=self._turns.waits(self)))
        if self._stop is not None:
            raise self._stop
        self._phase = _Phase.RUNNING
        await self._may_go.wait()
        self._may_go.clear()
        self._phase = _Phase.CLAIMING

    async def _generate(self, claimed: Claimed) -> None:
        # The claim has written down the first row, which may turn out to be another.
        ledger = self._ledger = Ledger(self.turn.attempts[:-1], self._turns.clock)
        with contextlib.closing(self._work.course(claimed.session)) as course:
            await course.next()
            while True:
                try:
                    await course.call(partial(self._ask, claimed, course, ledger))
                except MCPError as error:
                    ledger.write_up(self._answer, TurnState.FAILED, error)
                    self._failure = error
                    if self.log.last_sequence - self.log.base > SEQUENCE_BLOCK // 2:
                        raise
                    await course.next(error, begun=self._answer.begun)
                else:
                    course.succeeded()
                    return

    async def _ask(self, claimed: Claimed, course: Course, ledger: Ledger, watch: Watch) -> None:
        """One call to a provider."""
        target, said = course.target, self._answer
        goes_on = course.policy.on_cut is OnCut.CONTINUE and target.model.capabilities.prefill and said.continuable
        beginning = Message(role=Role.ASSISTANT, parts=said.parts()[-1:]) if goes_on else None
        plan = await self._work.plan(claimed, target, beginning)
        watch.asks()
        self._begin_attempt(ledger, target, plan, claimed.session, goes_on=goes_on)
        answer, first_token = self._answer, True
        async with contextlib.aclosing(target.provider.generate(plan.request)) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                watch.heard()
                answer.add(event)
                if answer.finish is not None:
                    watch.answered()
                    break
                if first_token:
                    first_token = False
                    ledger.first_token()
        if answer.finish is None:
            raise ProviderStreamCut(
                f"the answer of {target.name} ended without saying that it was complete: send the call again",
                metadata={"model": target.name},
            )

    def _begin_attempt(
        self, ledger: Ledger, target: Target, plan: Plan, session: MCPSession | None, *, goes_on: bool
    ) -> None:
        before, earlier, failure = ledger.present, ledger.rows, self._failure
        row = ledger.begin(target, plan.window.input_tokens)
        self.turn = replace(
            self.turn, start_time=self.turn.start_time or row.start_time, window=plan.window, attempts=ledger.rows
        )
        if before is None:
            started = Started(
                turn=self.turn.name,
                model=target.name,
                provider=target.provider_name,
                window=plan.window,
                session_etag=session.etag if session is not None else "",
            )
            if earlier:
                self._restarted(earlier[-1], started)
            else:
                self.log.append(started)
            return
        said = self._answer
        from_model = f"{before.provider}/{before.model}"
        self._answer = Answer(self.log.append, said if goes_on else None)
        if failure is not None and (said.begun or from_model != target.name):
            self.log.append(
                Switched(
                    from_model=from_model,
                    to_model=target.name,
                    reason=failure.reason,
                    window=plan.window,
                    mode=SwitchMode.CONTINUED if goes_on else SwitchMode.RESTARTED,
                )
            )

    def _restarted(self, before: Attempt, started: Started) -> None:
        """An earlier attempt was interrupted: this one begins anew."""
        from_model = f"{before.provider}/{before.model}"
        if not any(isinstance(event, Started) for _, event in replay(self._pieces, 0)):
            # Its process died before that was written down, and new readers have to hear of it. It was the first event
            # or, behind `queued`, the second.
            number = 2 if self.turn.waited else 1
            self._before = [(number, replace(started, model=from_model, provider=before.provider))]
            self.log.earlier = partial(replay, [*self._pieces, pack((), 0, before=self._before)])
        self.log.append(
            Switched(
                from_model=from_model,
                to_model=started.model,
                reason="TURN_INTERRUPTED",
                window=started.window,
                mode=SwitchMode.RESTARTED,
            )
        )

    # -- its end ------------------------------------------------------------------------------------------------------

    async def _end(self, error: MCPError | None) -> None:
        if self.log.ended:
            return
        if self._journal is not None:
            await self._journal
        if error is None:
            error = await self._commit()
        if error is not None:
            await self._fail(error)

    async def _commit(self) -> MCPError | None:
        """Write down the turn that succeeded and tell its readers; or say why that failed."""
        turn = self._closed(TurnState.SUCCEEDED)
        turn = replace(turn, last_sequence=turn.last_sequence + 1)
        message = replace(
            cast(Message, turn.message), turn=turn.name, finish_reason=turn.finish_reason, usage=turn.attempts[-1].usage
        )
        turn = replace(turn, message=message)
        try:
            self.turn, message = await self._work.commit(turn, self._said(message), self._unwritten())
        except MCPError as raised:
            self._doubtful = isinstance(raised, StoreUnavailable)
            return raised
        except Exception as raised:  # noqa: BLE001  # so may a store
            self._doubtful = True
            return self._unexpected(raised)
        self._succeeded(message)
        return None

    def _succeeded(self, message: Message) -> None:
        self.log.append(completed(self.turn, message))
        self.log.end()

    async def _fail(self, error: MCPError) -> None:
        if self._exists:
            if isinstance(error, Draining):
                state = TurnState.INTERRUPTED
            else:
                state = TurnState.CANCELLED if isinstance(error, TurnCancelled) else TurnState.FAILED
            # Who looks sees it end when that is written down, and its session free.
            turn = self._closed(state, error)
            error.metadata.setdefault("turn", turn.name)
            try:
                turn = await self._turns.sessions.release(turn, self._unwritten(), unless_succeeded=self._doubtful)
            except Exception as raised:  # the readers must hear of the first error, not of this one
                # The claim is void all the same, since this process no longer holds it; only the record is old.
                log.error("turn not written", turn=self.turn.name, exc_info=raised)
            else:
                error.final = bool(self.turn.request_id) and state in FINAL
            self.turn = turn
            if turn.state is TurnState.SUCCEEDED:
                # Its commit was written after all, whatever the store said.
                self._succeeded(self._said(cast(Message, turn.message)))
                return
        self.log.end(error)

    def _unwritten(self) -> bytes:
        """The piece of its log that is not written yet."""
        return pack(self.log.since(self._journalled), self._journalled + 1, before=self._before)

    def _said(self, message: Message) -> Message:
        """The message with all parts so far."""
        return replace(message, parts=self._answer.parts())

    def _so_far(self, ledger: Ledger) -> Turn:
        """The turn as it is while it generates, its message without parts."""
        ledger.write_up(self._answer)
        last = ledger.rows[-1]
        message = self._answer.head(model=f"{last.provider}/{last.model}")
        return replace(self.turn, message=message, usage=ledger.total(), attempts=ledger.rows)

    def _closed(self, state: TurnState, error: MCPError | None = None) -> Turn:
        """The turn as it ends now, its message without parts."""
        turn, finish, ledger = self.turn, self._answer.finish, self._ledger
        if ledger is not None and ledger.present is not None:
            ledger.write_up(self._answer, state, error)
            turn = self._so_far(ledger)
        elif turn.state is TurnState.RUNNING:
            # No provider was called in the end.
            turn = replace(turn, attempts=turn.attempts[:-1])
        return replace(
            turn,
            state=state,
            end_time=self._turns.clock(),
            error=told(error),
            finish_reason=finish.reason if finish is not None and error is None else None,
            last_sequence=self.log.last_sequence,
        )

    def _unexpected(self, raised: Exception) -> MCPError:
        error_id = secrets.token_hex(6)
        log.error("turn failed unexpectedly", turn=self.turn.name, error_id=error_id, exc_info=raised)
        return InternalError(
            f"the turn failed by a fault of the server; its log has more under {error_id}",
            metadata={"error_id": error_id},
        )
