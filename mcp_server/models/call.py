"""One call to a provider, held to its limits on time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import structlog

from mcp_server.errors import InternalError, MCPError, ProviderStreamCut, ProviderTimeout
from mcp_server.models.target import Target
from mcp_server.models.usage import Ledger, Meter
from mcp_server.values import Attempt

CLEANUP_SECONDS: Final = 2.0
"""How long a provider may take to stop when its call is cancelled."""

T = TypeVar("T")
log = structlog.get_logger("contextprotocol.attempts")


class Call:
    """One call to a provider. The reader of the answer reports every step to it.

    Args:
        target: the model that is called.
        ledger: gets the row of the call.
        probe: whether the call is the probe of a half-open circuit breaker.
        previous_error: why the call before this one failed; ``None`` for the first call.
    """

    def __init__(self, target: Target, ledger: Ledger, *, probe: bool, previous_error: MCPError | None = None) -> None:
        self.target = target
        self.previous_error = previous_error
        self.meter = Meter()
        """Counts the answer."""
        self.probe = probe
        self.begun = False
        """Whether the provider was asked. A failure before that says nothing about the provider."""
        self.is_last = False
        """Set to let no other call follow, however this one ends."""
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._start = self._last_piece = self._loop.time()
        self._timeout: MCPError | None = None
        self._answering = self._whole = self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    # -- what the reader of the answer reports ------------------------------------------------------------------------

    def begin(self, input_tokens: int) -> Attempt:
        """The provider is asked now, with a prompt of about ``input_tokens``; return the new row of the ledger."""
        self._check()
        self.begun = True
        return self._ledger.begin(self.target, input_tokens, self.meter)

    def piece(self) -> None:
        """A piece of the answer has come."""
        if self._closed:
            self._check()
        self._last_piece = self._loop.time()
        if not self._answering:
            self._answering = True
            self.target.circuit.answering(probe=self.probe)
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

    async def run(self, ask: Callable[[Call], Coroutine[Any, Any, T]]) -> T:
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
        soonest = min(limits.first_token, limits.silence, limits.attempt or limits.first_token)
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
            error_id = secrets.token_hex(6)
            log.error("provider failed unexpectedly", model=name, error_id=error_id, exc_info=raised)
            raise InternalError(
                f"{name} failed with an unknown error {error_id}: the server's log has the details under this id",
                metadata={"error_id": error_id, "model": name},
            ) from raised

    def _end(self, _: object = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _due(self) -> float:
        if self._whole:
            return self._last_piece + CLEANUP_SECONDS
        limits = self.target.limits
        due = self._last_piece + limits.silence if self._answering else self._start + limits.first_token
        return due if limits.attempt is None else min(due, self._start + limits.attempt)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due(), self._look)

    def _look(self) -> None:
        """End the call if a limit has been reached."""
        if self._loop.time() < self._due():
            self._set_timer()
            return
        if self._whole:
            self._task.cancel()
            self._end()
            return
        name = self.target.name
        if self._answering:
            self._timeout = ProviderStreamCut(f"{name} did not continue its answer in time", metadata={"model": name})
        else:
            self._timeout = ProviderTimeout(f"{name} did not begin to answer in time", metadata={"model": name})
        self._task.cancel()
        self._timer = self._loop.call_later(CLEANUP_SECONDS, self._end)


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of an abandoned call, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
