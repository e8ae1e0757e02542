"""The life of one turn in this process: claimed, prompted, generated, committed; or failed, or cancelled.

It is a task of the server, not of the connection that asked for it. It writes its events to a
:class:`~mcp_server.turns.log.TurnLog`, of which the call that began it is the first reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import msgspec
import structlog

from mcp_server.errors import (
    Draining,
    InternalError,
    MCPError,
    StoreUnavailable,
    TurnCancelled,
    TurnInterrupted,
    TurnNotFound,
    TurnTimeout,
)
from mcp_server.interfaces import ContentObserver, ContextType, TurnObserver
from mcp_server.models.catalogue import LookUpNeeded
from mcp_server.models.usage import error_record
from mcp_server.sessions.changes import fresh_id
from mcp_server.sessions.ownership import LEASE_SECONDS
from mcp_server.settings.tables import TurnSettings
from mcp_server.turns.claims import SEQUENCE_BLOCK, Claim, ClaimState, Entry, RecordExpired
from mcp_server.turns.generation import Generation
from mcp_server.turns.journal import Replay, completed, log_of, pack
from mcp_server.turns.kinds import Conversation
from mcp_server.turns.live import LiveTurn, LiveTurns
from mcp_server.turns.log import TurnLog, TurnReader
from mcp_server.turns.persistence import TurnStore
from mcp_server.turns.queue import SessionQueues, cancelled_by_later_call
from mcp_server.turns.request import TurnRequest, digest, release
from mcp_server.values import (
    FINAL,
    SECOND,
    Clock,
    IfBusy,
    Message,
    OnDisconnect,
    Queued,
    Turn,
    TurnState,
    with_states_of,
)

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")

_NO_QUEUE: Final = Entry()
"""The entry of a turn that has no session or leaves it as it is, and waits for no other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """What all runners of a process use."""

    store: TurnStore
    """Reads and writes the turns."""
    live: LiveTurns[TurnRunner]
    """The turns that run or wait in this process."""
    queues: SessionQueues[TurnRunner]
    """The order in which turns may claim their sessions."""
    context_types: Mapping[str, ContextType]
    """Render the context of sessions, by name."""
    observers: Sequence[TurnObserver]
    """Are notified of each turn."""
    content_observers: Sequence[ContentObserver]
    """Are shown what each turn was asked and has answered."""
    clock: Clock
    """The time, in nanoseconds since the Unix epoch."""
    disconnect_grace: float
    """Seconds that a turn without readers goes on."""


class _Phase(enum.Enum):
    """What happens to a turn that is stopped now."""

    CLAIMING = enum.auto()
    """It is being stored, which is never left half done. A stop takes effect right after."""
    RUNNING = enum.auto()
    """It waits or generates. A stop takes effect at once."""
    ENDING = enum.auto()
    """How it ends is decided, and is being stored. A stop comes too late."""


class TurnRunner(LiveTurn):
    """Runs one turn.

    Args:
        turn: the turn as it begins, if its request began none before.
        request: what is asked.
        dependencies: what all runners use.
    """

    def __init__(self, turn: Turn, request: TurnRequest, dependencies: Dependencies) -> None:
        self._commits = request.input.options.commit
        super().__init__(turn, request.input.options.if_busy if self._commits else IfBusy.REJECT)
        self.log = TurnLog(self._on_idle)
        """Its events."""
        self.deleted = False
        """Whether its session was deleted: until it has ended, nobody finds it any more."""
        self.exists = False
        """Whether it has been stored."""
        self.lease_start = 0.0
        """When its lease was taken, by the event loop's clock."""
        self._request = request
        self._dependencies = dependencies
        self._store = dependencies.store
        self._clock = dependencies.clock
        self._loop = asyncio.get_running_loop()
        self._earlier_attempts = 0
        self._generation: Generation | None = None
        self._doubtful = self._recorded = False
        self._phase = _Phase.CLAIMING
        self._stop: MCPError | None = None
        self._may_try = asyncio.Event()
        self._queued = False
        self._pieces: Sequence[bytes] = ()
        self._grace: asyncio.TimerHandle | None = None
        self._journalled = 0
        self._journal: asyncio.Future[None] | None = None
        self._timer = self._loop.call_later(request.timeout / SECOND, self._time_out)
        self._until = self._loop.time() + request.timeout / SECOND
        self.task = self._loop.create_task(self._run(), name=self.turn.name)
        """Done when it has ended and all of it is stored."""

    # -- from outside -------------------------------------------------------------------------------------------------

    def reader(self, after_sequence: int) -> TurnReader:
        """One more reader of its events."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        return self.log.reader(after_sequence)

    def present(self) -> Turn:
        """The turn as it is now, its message without parts."""
        if self._generation is not None and self.turn.state is TurnState.RUNNING:
            return self._generation.progress()
        return self.turn

    def snapshot(self) -> Turn:
        """The turn as it is now, with all parts of its message so far."""
        turn = self.present()
        return turn if turn.message is None else replace(turn, message=self._with_parts(turn.message))

    def recorded(self) -> Turn | None:
        """The turn as it ended, with all parts of its message; ``None`` if that is not stored by this process."""
        return self.snapshot() if self._recorded and not self.deleted else None

    def cancel(self, error: MCPError) -> None:
        """Stop it with ``error``, unless it is about to end anyway."""
        if self._stop is None and self._phase is not _Phase.ENDING:
            self._stop = error
            if self._phase is _Phase.RUNNING:
                self.task.cancel()

    def try_again(self) -> None:
        """Let it claim its session, which may be free now."""
        self._may_try.set()

    async def journal(self) -> None:
        """Store what has happened since the last time."""
        last, generation = self.log.last_sequence, self._generation
        if self._phase is not _Phase.RUNNING or generation is None or not generation.begun or last == self._journalled:
            return
        self._journal = self._loop.create_future()
        try:
            await self._store.journal(generation.progress(), self._unwritten())
        except (TurnInterrupted, TurnCancelled) as lost:
            self.cancel(lost)
        except Exception as raised:  # the next time stores it too
            log.error("turn not journalled", turn=self.turn.name, exc_info=raised)
        else:
            self._journalled, generation.missing = last, ()
        finally:
            self._journal.set_result(None)
            self._journal = None

    # -- reasons to stop ----------------------------------------------------------------------------------------------

    def _on_idle(self) -> None:
        """The last reader has left."""
        unknown = not (self.turn.request_id or self.log.last_sequence)
        if self.turn.on_disconnect is OnDisconnect.CANCEL:
            self._cancel_unread()
        elif self.turn.on_disconnect is OnDisconnect.CANCEL_AFTER_GRACE and unknown:
            # It has not begun, and nobody can come back to it: its caller has no request_id, and learnt no name.
            self._cancel_unread()
        elif self.turn.on_disconnect is OnDisconnect.CANCEL_AFTER_GRACE:
            self._grace = self._loop.call_later(self._dependencies.disconnect_grace, self._cancel_unread)

    def _cancel_unread(self) -> None:
        name = self.turn.name
        self.cancel(TurnCancelled(f"the turn {name} was cancelled: no reader was left", metadata={"turn": name}))

    def _time_out(self) -> None:
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
                await self._generate(*claimed)
        except MCPError as raised:
            error = raised
        except asyncio.CancelledError:
            # Unless it was a stop of ours, the process ends without having drained.
            error = Draining("the server stopped before the turn ended: send the same request again", retry_after=1)
        except Exception as raised:  # noqa: BLE001  # a provider may raise anything; all of it is logged
            error = InternalError.logged(log, "turn failed unexpectedly", raised, turn=self.turn.name)
        self._phase = _Phase.ENDING
        self._timer.cancel()
        if self._stop is not None:
            error = self._stop
            # The cancellation may still be on its way; it must not hit what is stored next.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        try:
            await self._end(error)
        except Exception as raised:  # noqa: BLE001  # whatever it is, nobody may wait for this turn without end
            self.log.end(InternalError.logged(log, "turn failed unexpectedly", raised, turn=self.turn.name))
        if self._grace is not None:
            self._grace.cancel()
        self._leave()

    def _leave(self) -> None:
        dependencies, turn = self._dependencies, self.turn
        dependencies.live.remove(self)
        if turn.session and (following := dependencies.queues.leave(self)) is not None:
            following.try_again()
        if self.exists:
            if dependencies.content_observers:
                self._show_content()
            for observer in dependencies.observers:
                observer.attempts_ended(turn.service, turn.attempts[self._earlier_attempts :])
                observer.turn_ended(turn)
        release(self._request.permit, turn=turn.name)

    def _show_content(self) -> None:
        """Show the observers of content what was asked and answered, without the states of providers."""
        input, answer = with_states_of("", self._request.input.content), None
        if self.turn.message is not None:
            (answer,) = with_states_of("", [self._with_parts(self.turn.message)])
        for observer in self._dependencies.content_observers:
            observer.turn_content(self.turn, input, answer)

    async def _claim(self) -> tuple[Claim, Conversation] | None:
        """Become RUNNING, however long that takes; ``None`` if the request was carried out before."""
        dependencies = self._dependencies
        while True:
            entry = dependencies.queues.entry(self) if self.turn.session and self._commits else _NO_QUEUE
            self.lease_start = self._loop.time()
            try:
                claim, conversation = await self._store.claim(self.turn, self._request, entry, stored=self.exists)
            except LookUpNeeded as needed:
                # Not inside the store's step: a provider is a plug-in.
                catalogue = self._request.catalogue.with_unlisted(needed.name)
                self._request = dataclasses.replace(self._request, catalogue=catalogue)
                continue
            except RecordExpired as expired:
                await self._store.forget(expired.turn)
                continue
            if claim.state is ClaimState.ENDED:
                self.log.refer(log_of(claim.turn, await self._store.events(claim.turn)))
                if self.exists:  # it was cancelled on another server while it waited here
                    self.turn = claim.turn
                return None
            if claim.state is ClaimState.ELSEWHERE:
                await self._pause((self._store.ownership.lease_seconds or LEASE_SECONDS) / 3)
                continue
            if claim.earlier is not None:
                await self._take_over(claim.earlier, claim.turn)
            self.turn = claim.turn
            self._note_stored()
            if claim.state is ClaimState.RUNNING:
                if self.turn.session and self._commits:
                    dependencies.queues.start(self)
                return claim, conversation
            await self._wait(claim.holder)

    def _note_stored(self) -> None:
        """The turn is in the store: the first time, notify the observers."""
        if not self.exists:
            self.exists = True
            for observer in self._dependencies.observers:
                observer.turn_started(self.turn)

    async def _take_over(self, earlier: Turn, turn: Turn) -> None:
        """Go on as the interrupted turn that the request began before."""
        former_id, self.turn = self.turn.id, turn
        self._dependencies.live.rename(self, former_id)
        self._note_stored()
        self.log.base = self._journalled = earlier.sequence_limit
        self._earlier_attempts = len(earlier.attempts)
        try:
            self._pieces = await self._store.events(earlier)
        except MCPError as error:
            raise TurnInterrupted(
                f"the record of the turn {turn.name} cannot be read now: send the same request again",
                metadata={"turn": turn.name},
                retry_after=1,
            ) from error
        if self._pieces:
            self.log.earlier = Replay(self._pieces).after

    async def _wait(self, holder: Turn | None) -> None:
        """Return when the session may be free."""
        queues = self._dependencies.queues
        if not self._queued:
            self._queued = True
            if self.if_busy is IfBusy.CANCEL_RUNNING:
                for other in queues.obstacles(self):
                    other.cancel(cancelled_by_later_call(other.turn))
                if holder is not None and holder.id not in self._store.ownership.live:
                    with contextlib.suppress(TurnNotFound):  # it is gone already
                        await self._store.give_up(holder, cancelled_by_later_call(holder))
                    self._may_try.set()
            self.log.append(Queued(turn=self.turn.name, position=queues.position(self)))
        await self._pause(None)

    async def _pause(self, seconds: float | None) -> None:
        """Wait until the turn may try again, at most for so long, and let it be stopped meanwhile."""
        if self._stop is not None:
            raise self._stop
        self._phase = _Phase.RUNNING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._may_try.wait()
        self._may_try.clear()
        self._phase = _Phase.CLAIMING

    async def _generate(self, claim: Claim, conversation: Conversation) -> None:
        assert claim.candidates is not None
        self._generation = Generation(
            self.turn,
            self.log,
            self._request.input,
            conversation,
            self._dependencies.context_types,
            self._pieces,
            self._clock,
        )
        await self._generation.run(claim.candidates, until=self._until)

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
        """Store the turn that succeeded and let its readers know; or say why that failed."""
        turn = self._closed(TurnState.SUCCEEDED)
        message = replace(
            cast(Message, turn.message), turn=turn.name, finish_reason=turn.finish_reason, usage=turn.attempts[-1].usage
        )
        turn = replace(turn, message=message, last_sequence=turn.last_sequence + 1)
        message = self._with_parts(message)
        outcome = self._request.input.outcome(message) if self._commits else None
        try:
            self.turn, stored = await self._store.commit(turn, outcome, self._unwritten())
        except MCPError as raised:
            self._doubtful = isinstance(raised, StoreUnavailable)
            return raised
        except Exception as raised:  # noqa: BLE001  # so may a store
            self._doubtful = True
            return InternalError.logged(log, "turn failed unexpectedly", raised, turn=self.turn.name)
        self._succeed(stored[-1] if stored else message)
        return None

    def _succeed(self, message: Message) -> None:
        self._recorded = True
        self.log.append(completed(self.turn, message))
        self.log.end()

    async def _fail(self, error: MCPError) -> None:
        if self.exists:
            if isinstance(error, Draining | TurnInterrupted):
                state = TurnState.INTERRUPTED
            else:
                state = TurnState.CANCELLED if isinstance(error, TurnCancelled) else TurnState.FAILED
            # Readers see it end when that is stored, and its session free.
            turn, events = self._closed(state, error), self._unwritten()
            error.metadata.setdefault("turn", turn.name)
            try:
                stored = await self._store.release(turn, events, doubtful=self._doubtful)
            except Exception as raised:  # the readers must get the first error, not this one
                # Its claim binds nobody all the same, since this process no longer runs it; only the record is old.
                log.error("end of turn not stored", turn=self.turn.name, exc_info=raised)
            else:
                if stored.fence == turn.fence:  # else another process has taken it
                    turn, self._recorded = stored, True
                    error.final = bool(self.turn.request_id) and state in FINAL
            self.turn = turn
            if turn.state is TurnState.SUCCEEDED:
                # Its commit was stored after all, whatever the store said.
                self._succeed(self._with_parts(cast(Message, turn.message)))
                return
        self.log.end(error)

    def _unwritten(self) -> bytes:
        """The piece of its log that is not stored yet."""
        missing = () if self._generation is None else self._generation.missing
        return pack(self.log.since(self._journalled), self._journalled + 1, before=missing)

    def _with_parts(self, message: Message) -> Message:
        return message if self._generation is None else self._generation.with_parts(message)

    def _closed(self, state: TurnState, error: MCPError | None = None) -> Turn:
        """The turn as it ends now, its message without parts."""
        turn = self.turn
        if self._generation is not None and self._generation.begun:
            turn = self._generation.end(state, error)
        elif turn.state is TurnState.RUNNING:  # no provider was asked
            turn = replace(turn, attempts=turn.attempts[:-1])
        return replace(
            turn,
            state=state,
            end_time=self._clock(),
            error=error_record(error),
            last_sequence=self.log.last_sequence,
        )


def new_turn(request: TurnRequest, clock: Clock, settings: TurnSettings) -> Turn:
    """The turn of a request as it begins."""
    options = request.input.options
    retention = int(settings.retention * SECOND)
    lifetime = None if options.retain else min(int(settings.disconnect_grace * SECOND), retention)
    return Turn(
        tenant=request.tenant,
        id=fresh_id("t"),
        service=request.input.service,
        state=TurnState.RUNNING,
        create_time=clock(),
        session=options.session,
        request_id=options.request_id,
        digest=digest(request.tenant, request.input) if options.request_id else b"",
        on_disconnect=options.on_disconnect,
        key=request.key,
        labels=options.labels,
        details=options.details,
        sequence_limit=SEQUENCE_BLOCK,
        lifetime=lifetime,
        shortened=0 if lifetime is None else retention - lifetime,
    )
