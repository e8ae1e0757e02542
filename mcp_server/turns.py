"""A turn's life: claimed, planned, generated, committed; or failed, or cancelled.

A turn is a task of the server, not of the connection that asked for it. It writes to its
:class:`~mcp_server.events.TurnLog`; the call that started it is the log's first reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from collections.abc import Sequence
from typing import Protocol, cast

import msgspec
import structlog

from mcp_server.answers import Answer
from mcp_server.errors import (
    Draining,
    InternalError,
    MCPError,
    ProviderStreamCut,
    TurnCancelled,
    TurnTimeout,
)
from mcp_server.events import Completed, Started, TurnLog, TurnReader
from mcp_server.interfaces import GenerateRequest, Provider, TurnObserver
from mcp_server.messages import (
    SECOND,
    Attempt,
    FinishReason,
    MCPSession,
    Message,
    Struct,
    Turn,
    TurnError,
    TurnState,
    Usage,
    Window,
)
from mcp_server.sessions import Claimed, Clock, MCPSessionManager
from mcp_server.window import estimate_tokens

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.turns")


class Plan(Struct):
    """What a turn does once it holds its session."""

    provider_name: str
    """The provider's configured name."""
    provider: Provider
    """The provider."""
    request: GenerateRequest
    """What it is asked."""
    window: Window = Window()
    """What of the history is in it."""


class Work(Protocol):
    """What is particular to one kind of turn."""

    async def claim(self, turn: Turn) -> Claimed:
        """Write the turn down and reserve its session. What it raises refuses the turn: then it never existed."""
        ...

    async def plan(self, claimed: Claimed) -> Plan:
        """Decide what the provider is asked. What it raises fails the turn."""
        ...

    async def commit(self, turn: Turn, message: Message) -> tuple[MCPSession | None, Message]:
        """Write down the turn that succeeded and all that it brings, in one step; return the answer as it is stored."""
        ...


class _Phase(enum.Enum):
    """How far a turn is, as far as stopping it goes."""

    CLAIMING = enum.auto()
    """It is being written down for the first time: never left half done. A stop takes effect right after."""
    RUNNING = enum.auto()
    """A stop takes effect at once."""
    ENDING = enum.auto()
    """How it ends is decided, and is being written down. A stop comes too late."""


class LiveTurn:
    """A turn that this process runs."""

    def __init__(self, turns: Turns, turn: Turn, work: Work, *, timeout: int) -> None:
        self.turn = turn
        """The turn as it is now."""
        self.log = TurnLog(on_idle=self._abandoned)
        """Its events."""
        self._turns = turns
        self._work = work
        self._answer = Answer(self.log.append)
        self._attempt: Attempt | None = None
        self._exists = False
        self._phase = _Phase.CLAIMING
        self._stop: MCPError | None = None
        self._timer = asyncio.get_running_loop().call_later(timeout / SECOND, self._timed_out)
        self.task = asyncio.create_task(self._run(), name=turn.name)
        """Done when it has ended and all of it is written down."""

    def cancel(self, error: MCPError) -> None:
        """Stop it with ``error``, unless it is about to end anyway."""
        if self._stop is None and self._phase is not _Phase.ENDING:
            self._stop = error
            if self._phase is _Phase.RUNNING:
                self.task.cancel()

    def _abandoned(self) -> None:
        self.cancel(TurnCancelled("the caller left before the turn ended", metadata={"turn": self.turn.name}))

    def _timed_out(self) -> None:
        self.cancel(
            TurnTimeout(
                f"the turn {self.turn.name} did not end within its timeout: allow more time, or a shorter answer",
                metadata={"turn": self.turn.name},
            )
        )

    async def _run(self) -> None:
        error: MCPError | None = None
        try:
            claimed = await self._work.claim(self.turn)
            self.turn, self._exists = claimed.turn, True
            self._turns.started(self)
            self._phase = _Phase.RUNNING
            if self._stop is None:
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
        if error is None:
            error = await self._commit()
        if error is not None:
            await self._fail(error)
        self._turns.ended(self, existed=self._exists)

    async def _generate(self, claimed: Claimed) -> None:
        plan = await self._work.plan(claimed)
        model = f"{plan.provider_name}/{plan.request.model}"
        clock, start = self._turns.clock, self._turns.clock()
        self._attempt = Attempt(provider=plan.provider_name, model=plan.request.model, start_time=start)
        self.turn = replace(self.turn, start_time=start, window=plan.window)
        etag = claimed.session.etag if claimed.session is not None else ""
        self.log.append(
            Started(
                turn=self.turn.name,
                model=model,
                provider=plan.provider_name,
                window=plan.window,
                session_etag=etag,
            )
        )
        answer, first_token = self._answer, True
        async with contextlib.aclosing(plan.provider.generate(plan.request)) as events:  # type: ignore[type-var]  # a generator
            async for event in events:
                answer.add(event)
                if answer.finish is not None:
                    break
                if first_token:
                    first_token = False
                    self._attempt = replace(self._attempt, first_token_duration=clock() - start)
        if answer.finish is None:
            raise ProviderStreamCut(
                f"the answer of {model} ended without saying that it was complete: send the call again",
                metadata={"model": model},
            )

    async def _commit(self) -> MCPError | None:
        """Write down the turn that succeeded and tell its readers; or say why that failed."""
        turn = self._closed(TurnState.SUCCEEDED)
        finish_reason, message = cast(FinishReason, turn.finish_reason), cast(Message, turn.message)
        message = replace(message, turn=turn.id, finish_reason=finish_reason, usage=turn.usage)
        turn = replace(turn, message=message)
        try:
            session, message = await self._work.commit(turn, message)
        except MCPError as raised:
            return raised
        except Exception as raised:  # noqa: BLE001  # so may a store
            return self._unexpected(raised)
        self.turn = turn
        attempt, end = turn.attempts[-1], cast(int, turn.end_time)
        first = attempt.first_token_duration
        self.log.append(
            Completed(
                message=message,
                finish_reason=finish_reason,
                usage=turn.usage,
                attempts=turn.attempts,
                session_etag=session.etag if session is not None else "",
                time_to_first_token=None if first is None else attempt.start_time + first - turn.create_time,
                duration=end - turn.create_time,
            )
        )
        self.log.end()
        return None

    async def _fail(self, error: MCPError) -> None:
        if self._exists:
            if isinstance(error, Draining):
                state = TurnState.INTERRUPTED
            else:
                state = TurnState.CANCELLED if isinstance(error, TurnCancelled) else TurnState.FAILED
            self.turn = self._closed(state, error)
            error.metadata.setdefault("turn", self.turn.name)
            try:
                await self._turns.sessions.release(self.turn)
            except Exception as raised:  # the readers must hear of the first error, not of this one
                # The claim is void all the same, since this process no longer holds it; only the record is old.
                log.error("turn not written", turn=self.turn.name, exc_info=raised)
        self.log.end(error)

    def _closed(self, state: TurnState, error: MCPError | None = None) -> Turn:
        """The turn as it ends now."""
        now = self._turns.clock()
        turn_error = None
        if error is not None:
            turn_error = TurnError(reason=error.reason, message=error.message, metadata=dict(error.metadata))
        turn = replace(self.turn, state=state, end_time=now, error=turn_error)
        if self._attempt is None:
            return turn
        finish = self._answer.finish
        usage = finish.usage if finish is not None else None
        message = self._answer.message(model=f"{self._attempt.provider}/{self._attempt.model}")
        if usage is None:
            usage = Usage(
                input_tokens=turn.window.input_tokens,
                output_tokens=sum([estimate_tokens(getattr(part, "text", "")) for part in message.parts]),
            )
        attempt = replace(
            self._attempt,
            duration=now - self._attempt.start_time,
            usage=usage,
            delivered_tokens=usage.output_tokens,
            outcome=state,
            error=turn_error,
        )
        return replace(
            turn,
            message=message,
            finish_reason=finish.reason if finish is not None and error is None else None,
            usage=usage,
            attempts=(attempt,),
        )

    def _unexpected(self, raised: Exception) -> MCPError:
        error_id = secrets.token_hex(6)
        log.error("turn failed unexpectedly", turn=self.turn.name, error_id=error_id, exc_info=raised)
        return InternalError(
            f"the turn failed by a fault of the server; its log has more under {error_id}",
            metadata={"error_id": error_id},
        )


class Turns:
    """The turns that this process runs.

    Args:
        sessions: the sessions that they write.
        clock: tells the time.
        observers: are told of each turn.
        heartbeat_interval: seconds of silence after which readers get a sign of life.
    """

    def __init__(
        self,
        sessions: MCPSessionManager,
        *,
        clock: Clock,
        observers: Sequence[TurnObserver] = (),
        heartbeat_interval: float,
    ) -> None:
        self.sessions = sessions
        self.clock = clock
        self._observers = observers
        self._live: dict[str, LiveTurn] = {}
        self._heartbeat_interval = heartbeat_interval

    def start(self, turn: Turn, work: Work, *, timeout: int) -> TurnReader:
        """Begin a turn that ends after ``timeout`` nanoseconds at the latest, and return its first reader."""
        live = LiveTurn(self, turn, work, timeout=timeout)
        self._live[turn.id] = live
        return live.log.reader()

    def started(self, live: LiveTurn) -> None:
        """A turn has come to exist."""
        for observer in self._observers:
            observer.turn_started(live.turn)

    def ended(self, live: LiveTurn, *, existed: bool) -> None:
        """A turn has ended, or was refused before it existed."""
        del self._live[live.turn.id]
        if existed:
            for observer in self._observers:
                observer.turn_ended(live.turn)

    def cancel(self, turn_id: str, error: MCPError) -> None:
        """Stop a turn if it runs here."""
        live = self._live.get(turn_id)
        if live is not None:
            live.cancel(error)

    async def idle(self) -> None:
        """Return when no turn runs."""
        while self._live:
            await asyncio.wait([live.task for live in self._live.values()])

    async def beat(self) -> None:
        """For ever: let readers that hear nothing know that their turn lives."""
        while True:
            # A reader beats at the second look that finds it waiting: after one interval at the least.
            await asyncio.sleep(self._heartbeat_interval)
            for live in list(self._live.values()):
                live.log.beat()

    async def drain(self, timeout: float) -> None:
        """Let the running turns end for ``timeout`` seconds, then interrupt the others; return when all is written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.idle()
        self.interrupt()
        await self.idle()

    def interrupt(self) -> None:
        """Stop all turns now: each keeps what it has, and can be run again elsewhere."""
        for live in list(self._live.values()):
            live.cancel(
                Draining(
                    "the server stops: send the same request again", metadata={"turn": live.turn.name}, retry_after=1
                )
            )
