"""One call to a provider, held to its limits on time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import structlog

from mcp_server import trace_context
from mcp_server.errors import InternalError, MCPError, ProviderStreamCut, ProviderTimeout
from mcp_server.interfaces import EmbedRequest, GenerateRequest, Loader, Progress
from mcp_server.models.circuit import CallKind
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger, Meter
from mcp_server.values import Attempt

LATE_SECONDS: Final = 0.1
"""How late a timer of a free event loop is at most."""
CLEANUP_SECONDS: Final = 2.0
"""How long a provider may take to stop when its call is cancelled."""

LOAD: Final = "load"
"""The ``cause`` of an error in its metadata: the model's files are missing, or cannot be loaded."""
PROCESS: Final = "process"
"""The process that computes has ended while it worked on the call."""
LOADING: Final = "loading"
"""The model was still being loaded when a limit was reached."""
OWN_LIMIT: Final = "attempt_timeout"
"""The call was making progress when it reached that limit of this server."""

T = TypeVar("T")
log = structlog.get_logger("contextprotocol.attempts")


class ProviderCall:
    """One call to a provider. The reader of the answer reports every step to it.

    Args:
        target: the model that is called.
        kind: what it is called for.
        ledger: gets the row of the call.
        has_fallback: whether another model can be asked that has not been silent itself.
        previous_error: why the call before this one failed; ``None`` for the first call.
    """

    def __init__(
        self,
        target: Target,
        kind: CallKind,
        ledger: Ledger,
        *,
        has_fallback: bool,
        previous_error: MCPError | None = None,
    ) -> None:
        self.target = target
        self.circuit = target.circuits.of(kind)
        """The circuit breaker of these calls."""
        self.previous_error = previous_error
        self.meter = Meter()
        """Counts the answer."""
        self.probe = self.circuit.begin()
        """Whether it is the probe of the circuit breaker, which is half-open."""
        self.begun = False
        """Whether the provider was asked. A failure before that says nothing about the provider."""
        self.is_last = False
        """Set to let no other call follow, however this one ends."""
        self._ledger = ledger
        limits = target.limits
        self._has_fallback = has_fallback
        self._first_token = min(limits.first_token, limits.fallback) if has_fallback else limits.first_token
        self._stage = ""
        self._loop = asyncio.get_running_loop()
        self._start = self._last_piece = self._loop.time()
        self._timeout: MCPError | None = None
        self._answering = self._whole = self._closed = self._late = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    # -- what the reader of the answer reports ------------------------------------------------------------------------

    def begin(self, input_tokens: int) -> Attempt:
        """The provider is asked now, with a prompt of about ``input_tokens``; return the new row of the ledger."""
        self._check()
        self.begun = True
        trace_context.attempt_begins()
        return self._ledger.begin(self.target, input_tokens, self.meter)

    def progress(self, progress: Progress) -> None:
        """The provider has shown a sign of life before the first piece of the answer."""
        self._check()
        self._stage = progress.stage
        if not (self._answering or (self._has_fallback and progress.stage == "loading")):
            self._last_piece = self._loop.time()

    async def load(self, loader: Loader, request: GenerateRequest | EmbedRequest) -> None:
        """Have the provider load what the request needs."""
        async with contextlib.aclosing(loader.load(request)) as signs:  # type: ignore[type-var]  # a generator
            async for sign in signs:
                self.progress(sign)
        self._stage = ""
        self._last_piece = self._loop.time()

    def piece(self) -> None:
        """A piece of the answer has come."""
        if self._closed:
            self._check()
        self._last_piece = self._loop.time()
        self._late = False
        if not self._answering:
            self._answering = True
            self.circuit.answering(probe=self.probe)
            if self._timer is not None and self._timer.when() > self._due():
                self._set_timer()  # the limit on silence comes sooner than the one on the first token

    def whole(self) -> None:
        """The answer is whole: the provider only has to stop, and nothing that it does from now on counts."""
        self._whole = True
        self._last_piece = self._loop.time()
        self._set_timer()

    def _check(self) -> None:
        """Stop here if the call was abandoned because it did not stop when it was cancelled."""
        if self._closed:
            raise asyncio.CancelledError

    # -- limits on time -----------------------------------------------------------------------------------------------

    async def run(self, ask: Callable[[ProviderCall], Coroutine[Any, Any, T]]) -> T:
        """Run ``ask`` within the limits. When this returns or is cancelled, the call has stopped or is abandoned.

        If ``ask`` has reported a whole answer and then does not return, the result is ``None``.

        Raises:
            ProviderTimeout: no piece came in time.
            ProviderStreamCut: the answer had begun, and no further piece came in time.
            InternalError: the provider raised something that is no :class:`~mcp_server.errors.MCPError`.
        """
        task = self._loop.create_task(ask(self))
        try:
            await self._end_of(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task], timeout=CLEANUP_SECONDS)
            raise
        finally:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if not task.done():
                log.error("provider does not stop", provider=self.target.provider_name, seconds=CLEANUP_SECONDS)
                task.add_done_callback(_retrieve_exception)
        return self._result(task)

    async def _end_of(self, task: asyncio.Task[Any]) -> None:
        """Return when the task has ended or is to be abandoned."""
        self._task = task
        task.add_done_callback(self._end)
        # Early enough for every limit. Most calls end before, and need no other timer.
        limits = self.target.limits
        soonest = min(self._first_token, limits.silence, limits.attempt or self._first_token)
        self._timer = self._loop.call_at(self._start + soonest, self._look)
        await self._ended

    def _result(self, task: asyncio.Task[T]) -> T:
        name = self.target.name
        failure = task.exception() if task.done() and not task.cancelled() else None
        if self._whole:
            if failure is not None:
                log.error("provider failed after the end of its answer", model=name, exc_info=failure)
            return cast(T, None) if failure is not None or not task.done() or task.cancelled() else task.result()
        if self._timeout is not None and (failure is not None or not task.done() or task.cancelled()):
            raise self._timeout
        try:
            return task.result()
        except MCPError:
            raise
        except BaseException as raised:  # a CancelledError too: only the provider itself can have raised it
            what = f"the provider of {name} failed"
            raise InternalError.logged(log, "provider failed unexpectedly", raised, what=what, model=name) from raised

    def _end(self, _: object = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _due(self) -> float:
        if self._whole:
            return self._last_piece + CLEANUP_SECONDS
        limits = self.target.limits
        due = self._last_piece + (limits.silence if self._answering else self._first_token)
        return due if limits.attempt is None else min(due, self._start + limits.attempt)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due(), self._look)

    def _look(self) -> None:
        """End the call if a limit has been reached."""
        late = self._loop.time() - self._due()
        if late < 0:
            self._set_timer()
            return
        if late > LATE_SECONDS and not self._late:
            # The event loop was held up: what has come meanwhile is read first.
            self._late = True
            self._timer = self._loop.call_later(LATE_SECONDS, self._look)
            return
        if self._whole:
            self._task.cancel()
            self._end()
            return
        self._timeout = self._overdue()
        self._task.cancel()
        self._timer = self._loop.call_later(CLEANUP_SECONDS, self._end)

    def _overdue(self) -> MCPError:
        """The error of a call that has reached a limit."""
        name, limits = self.target.name, self.target.limits
        facts = {"model": name}
        if limits.attempt is not None and self._loop.time() >= self._start + limits.attempt:
            facts["cause"] = OWN_LIMIT
            what = f"did not end its answer within {limits.attempt:g} s"
        elif self._answering:
            what = f"did not continue its answer within {limits.silence:g} s"
        elif self._stage == "loading":
            facts["cause"] = LOADING
            what = f"is still being loaded after {self._first_token:g} s"
        else:
            what = f"did not begin to answer within {self._first_token:g} s"
        return (ProviderStreamCut if self._answering else ProviderTimeout)(f"{name} {what}", metadata=facts)


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of an abandoned call, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
