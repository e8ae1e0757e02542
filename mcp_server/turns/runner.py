"""The life of one turn in this process: claimed, prompted, generated, committed; or failed, or cancelled.

It is a task of the server, not of the connection that asked for it. It writes its events to a
:class:`~mcp_server.turns.log.TurnLog`, of which the call that began it is the first reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

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
from mcp_server.interfaces import ContextType, TurnObserver
from mcp_server.models.call import Call
from mcp_server.models.catalogue import LookUpNeeded
from mcp_server.models.failover import Failover
from mcp_server.models.usage import Ledger, Meter, error_record
from mcp_server.sessions.changes import fresh_id
from mcp_server.sessions.ownership import LEASE_SECONDS
from mcp_server.turns.answer import Answer
from mcp_server.turns.claims import SEQUENCE_BLOCK, Claim, ClaimState, Entry
from mcp_server.turns.journal import completed, log_of, pack, replay
from mcp_server.turns.kinds import Conversation, Prompt
from mcp_server.turns.live import LiveTurns
from mcp_server.turns.log import Numbered, TurnLog, TurnReader
from mcp_server.turns.persistence import TurnStore
from mcp_server.turns.queue import SessionQueues, cancelled_by_later_call
from mcp_server.turns.request import TurnRequest, digest
from mcp_server.values import (
    FINAL,
    SECOND,
    Attempt,
    Clock,
    IfBusy,
    Message,
    OnDisconnect,
    Queued,
    Role,
    Started,
    Switched,
    SwitchMode,
    Turn,
    TurnState,
)

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")

_NO_QUEUE: Final = Entry()
"""The place of a turn without a session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What all turns of a process share."""

    store: TurnStore
    """Keeps them."""
    live: LiveTurns[TurnRunner]
    """Those that run here."""
    queues: SessionQueues[TurnRunner]
    """The order in which they may claim their sessions."""
    context_types: Mapping[str, ContextType]
    """Render the context of sessions."""
    observers: Sequence[TurnObserver]
    """Are notified of each turn."""
    clock: Clock
    """Tells the time."""
    disconnect_grace: float
    """Seconds that a turn without readers goes on."""


class _Phase(enum.Enum):
    """How far a turn is, as far as stopping it goes."""

    CLAIMING = enum.auto()
    """It is being stored, which is never left half done. A stop takes effect right after."""
    RUNNING = enum.auto()
    """It waits or generates. A stop takes effect at once."""
    ENDING = enum.auto()
    """How it ends is decided, and is being stored. A stop comes too late."""


class TurnRunner:
    """Runs one turn.

    Args:
        turn: the turn as it begins, if its request began none before.
        request: what is asked.
        surroundings: what all turns share.
    """

    def __init__(self, turn: Turn, request: TurnRequest, surroundings: Surroundings) -> None:
        self.turn = turn
        """The turn as it is now, its message without parts."""
        self.if_busy = request.input.options.if_busy
        """What happens if its session has a turn already."""
        self.log = TurnLog(self._on_idle)
        """Its events."""
        self.deleted = False
        """Whether its session was deleted: until it has ended, nobody finds it any more."""
        self.exists = False
        """Whether it has been stored."""
        self.lease_start = 0.0
        """When its lease was taken, by the event loop's clock."""
        self._request = request
        self._surroundings = surroundings
        self._store = surroundings.store
        self._clock = surroundings.clock
        self._loop = asyncio.get_running_loop()
        self._earlier_attempts = 0
        self._answer = Answer(self.log.append, Meter())
        self._ledger: Ledger | None = None
        self._doubtful = self._recorded = False
        self._phase = _Phase.CLAIMING
        self._stop: MCPError | None = None
        self._may_try = asyncio.Event()
        self._queued = False
        self._pieces: Sequence[bytes] = ()
        self._before: list[Numbered] = []
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

    def snapshot(self) -> Turn:
        """The turn as it is now, with all parts of its message so far."""
        turn = self.turn
        if self._ledger is not None and self._ledger.present is not None and turn.state is TurnState.RUNNING:
            turn = self._so_far(self._ledger)
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
        """Its session may be free now."""
        self._may_try.set()

    async def journal(self) -> None:
        """Store what has happened since the last time."""
        last, ledger = self.log.last_sequence, self._ledger
        if self._phase is not _Phase.RUNNING or ledger is None or ledger.present is None or last == self._journalled:
            return
        self._journal = self._loop.create_future()
        try:
            await self._store.journal(self._so_far(ledger), self._unwritten())
        except (TurnInterrupted, TurnCancelled) as lost:
            self.cancel(lost)
        except Exception as raised:  # the next time stores it too
            log.error("turn not journalled", turn=self.turn.name, exc_info=raised)
        else:
            self._journalled, self._before = last, []
        finally:
            self._journal.set_result(None)
            self._journal = None

    # -- reasons to stop ----------------------------------------------------------------------------------------------

    def _on_idle(self) -> None:
        """The last reader has left."""
        if self.turn.on_disconnect is OnDisconnect.CANCEL:
            self._cancel_unread()
        elif self.turn.on_disconnect is OnDisconnect.CANCEL_AFTER_GRACE:
            self._grace = self._loop.call_later(self._surroundings.disconnect_grace, self._cancel_unread)

    def _cancel_unread(self) -> None:
        name = self.turn.name
        self.cancel(TurnCancelled(f"the turn {name} was cancelled: all its readers had left", metadata={"turn": name}))

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
            error = self._unexpected(raised)
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
            self.log.end(self._unexpected(raised))
        if self._grace is not None:
            self._grace.cancel()
        self._leave()

    def _leave(self) -> None:
        surroundings, turn = self._surroundings, self.turn
        surroundings.live.remove(self)
        if turn.session:
            surroundings.queues.leave(self)
        if not isinstance(self._request.permit, MCPError):
            self._request.permit.release()
        if self.exists:
            for observer in surroundings.observers:
                observer.attempts_ended(turn.service, turn.attempts[self._earlier_attempts :])
                observer.turn_ended(turn)

    async def _claim(self) -> tuple[Claim, Conversation] | None:
        """Become RUNNING, however long that takes; ``None`` if the request was carried out before."""
        surroundings = self._surroundings
        while True:
            entry = surroundings.queues.entry(self) if self.turn.session else _NO_QUEUE
            self.lease_start = self._loop.time()
            try:
                claim, conversation = await self._store.claim(self.turn, self._request, entry, stored=self.exists)
            except LookUpNeeded as needed:
                # Not inside the store's step: a provider is a plug-in.
                catalogue = self._request.catalogue.with_unlisted(needed.name)
                self._request = dataclasses.replace(self._request, catalogue=catalogue)
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
            if not self.exists:
                self.exists = True
                for observer in surroundings.observers:
                    observer.turn_started(self.turn)
            if claim.state is ClaimState.RUNNING:
                if self.turn.session:
                    surroundings.queues.start(self)
                return claim, conversation
            await self._wait(claim.holder)

    async def _take_over(self, earlier: Turn, turn: Turn) -> None:
        """Go on as the interrupted turn that the request began before."""
        former_id, self.turn = self.turn.id, turn
        self._surroundings.live.rename(self, former_id)
        self.exists = True
        for observer in self._surroundings.observers:
            observer.turn_started(turn)
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
            self.log.earlier = partial(replay, self._pieces)

    async def _wait(self, holder: Turn | None) -> None:
        """Return when the session may be free."""
        queues = self._surroundings.queues
        if not self._queued:
            self._queued = True
            if self.if_busy is IfBusy.CANCEL_RUNNING:
                queues.cancel_others(self)
                if holder is not None and holder.id not in self._store.ownership.live:
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
        # The claim has stored the first row, of a call that may turn out to go to another model.
        self._ledger = Ledger(self.turn.attempts[:-1], self._clock)
        failover = Failover(claim.candidates, self._ledger, until=self._until)
        await failover.run(partial(self._ask, conversation, self._ledger, claim.candidates.policy.on_cut))

    async def _ask(self, conversation: Conversation, ledger: Ledger, on_cut: str, call: Call) -> None:
        """One call to a provider."""
        target, before = call.target, self._answer
        # A turn must not use up its numbers, however often its answers break off.
        call.is_last = self.log.last_sequence - self.log.base > SEQUENCE_BLOCK // 2
        continues = on_cut == "continue" and target.model.capabilities.prefill and before.continuable
        beginning = Message(role=Role.ASSISTANT, parts=before.parts()[-1:]) if continues else None
        prompt = await self._request.input.build_prompt(
            conversation, target, self._surroundings.context_types, beginning
        )
        self._begin_attempt(ledger, call, prompt, conversation, continues=continues)
        answer, first = self._answer, True
        async with contextlib.aclosing(target.provider.generate(prompt.request)) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                call.piece()
                answer.add(event)
                if answer.finish is not None:
                    call.whole()
                    break
                if first:
                    first = False
                    ledger.first_token()
        if answer.finish is None:
            raise ProviderStreamCut(
                f"the answer of {target.name} ended without saying that it was complete: send the call again",
                metadata={"model": target.name},
            )

    def _begin_attempt(
        self, ledger: Ledger, call: Call, prompt: Prompt, conversation: Conversation, *, continues: bool
    ) -> None:
        target, session = call.target, conversation.session
        previous, earlier = ledger.present, ledger.rows
        call.begin(prompt.window.input_tokens)
        row = cast(Attempt, ledger.present)
        self.turn = replace(
            self.turn, start_time=self.turn.start_time or row.start_time, window=prompt.window, attempts=ledger.rows
        )
        before = self._answer
        self._answer = Answer(self.log.append, call.meter, before if continues else None)
        if previous is None:
            started = Started(
                turn=self.turn.name,
                model=target.name,
                provider=target.provider_name,
                window=prompt.window,
                session_etag=session.etag if session is not None else "",
            )
            if earlier:
                self._restart_after(earlier[-1], started)
            else:
                self.log.append(started)
            return
        from_model = f"{previous.provider}/{previous.model}"
        error = call.previous_error
        if error is not None and (before.begun or from_model != target.name):
            self.log.append(
                Switched(
                    from_model=from_model,
                    to_model=target.name,
                    reason=error.reason,
                    window=prompt.window,
                    mode=SwitchMode.CONTINUED if continues else SwitchMode.RESTARTED,
                )
            )

    def _restart_after(self, previous: Attempt, started: Started) -> None:
        """An attempt of another process was interrupted: this one begins anew."""
        from_model = f"{previous.provider}/{previous.model}"
        if not any(isinstance(event, Started) for _, event in replay(self._pieces, 0)):
            # That process died before the event was stored, and new readers need it. It was the first event or, after
            # `queued`, the second.
            number = 2 if self.turn.waited else 1
            self._before = [(number, replace(started, model=from_model, provider=previous.provider))]
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
        """Store the turn that succeeded and let its readers know; or say why that failed."""
        turn = self._closed(TurnState.SUCCEEDED)
        turn = replace(turn, last_sequence=turn.last_sequence + 1)
        message = replace(
            cast(Message, turn.message), turn=turn.name, finish_reason=turn.finish_reason, usage=turn.attempts[-1].usage
        )
        turn = replace(turn, message=message)
        message = self._with_parts(message)
        try:
            self.turn, stored = await self._store.commit(turn, self._request.input.outcome(message), self._unwritten())
        except MCPError as raised:
            self._doubtful = isinstance(raised, StoreUnavailable)
            return raised
        except Exception as raised:  # noqa: BLE001  # so may a store
            self._doubtful = True
            return self._unexpected(raised)
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
        return pack(self.log.since(self._journalled), self._journalled + 1, before=self._before)

    def _with_parts(self, message: Message) -> Message:
        """The message with all parts so far."""
        return replace(message, parts=self._answer.parts())

    def _so_far(self, ledger: Ledger) -> Turn:
        """The turn as it is while it generates, its message without parts."""
        ledger.update()
        last = ledger.rows[-1]
        message = Message(role=Role.ASSISTANT, model=f"{last.provider}/{last.model}")
        return replace(self.turn, message=message, usage=ledger.total(), attempts=ledger.rows)

    def _closed(self, state: TurnState, error: MCPError | None = None) -> Turn:
        """The turn as it ends now, its message without parts."""
        turn, finish, ledger = self.turn, self._answer.finish, self._ledger
        if ledger is not None and ledger.present is not None:
            ledger.update(state, error)
            turn = self._so_far(ledger)
        elif turn.state is TurnState.RUNNING:
            # No provider was called in the end.
            turn = replace(turn, attempts=turn.attempts[:-1])
        return replace(
            turn,
            state=state,
            end_time=self._clock(),
            error=error_record(error),
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


def new_turn(request: TurnRequest, clock: Clock) -> Turn:
    """The turn of a request as it begins."""
    options = request.input.options
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
        sequence_limit=SEQUENCE_BLOCK,
    )
