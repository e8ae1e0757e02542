"""The middleware around every call of every edge, and how a call ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from mcp_server.errors import Debug, InternalError, MCPError
from mcp_server.interfaces import Call, Middleware

log = structlog.get_logger("contextprotocol.calls")

Inner = Callable[[Call], Awaitable[Any]]


class CallerLeft(asyncio.CancelledError):
    """The caller has left, and the edge has not cancelled the task yet."""


class OtherStatus(Exception):
    """Ends a call with a status that is not one of an :class:`~mcp_server.errors.MCPError`.

    Args:
        code: the status by gRPC's name, for logs and metrics.
        message: what was wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Pipeline:
    """Runs calls inside middleware.

    Args:
        middleware: entered around each call, the first outermost.
        development: whether callers see the unexpected exceptions that end their calls.
    """

    def __init__(self, middleware: Sequence[Middleware], *, development: bool = False) -> None:
        self._middleware = tuple(middleware)
        self._development = development

    async def run(self, call: Call, inner: Inner) -> Any:
        """What ``inner`` returns. The call notes how it ended before each middleware is left.

        Raises:
            MCPError, OtherStatus: the call failed so.
            asyncio.CancelledError: the caller has left, or the server stops.
        """
        try:
            return await self._through(0, call, inner)
        except MCPError as error:
            if self._development and error.unexpected is not None:
                error.debug = Debug.of(error.unexpected)
            raise

    async def _through(self, index: int, call: Call, inner: Inner) -> Any:
        """Run ``inner`` inside the middleware from ``index`` on. Each learns how the call ended before it is left."""
        try:
            if index == len(self._middleware):
                result = await inner(call)
                if call.reason is None:
                    call.reason = call.code = "OK"
                return result
            async with self._middleware[index](call):
                return await self._through(index + 1, call, inner)
            raise RuntimeError("a middleware has suppressed an error: the caller would take its call for a success")
        except BaseException as error:  # it is raised as what the caller may see
            settled = _settle(call, error)
            if settled is error:
                raise
            raise settled from error


def repeated_keys(metadata: Mapping[str, str], pairs: Sequence[tuple[str, str]]) -> Collection[str]:
    """The keys that occur more than once in the metadata of a call, for ``Call.repeated``.

    Args:
        metadata: the metadata by key.
        pairs: the same as the caller sent it.
    """
    if len(metadata) == len(pairs):
        return ()
    return [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]


def _settle(call: Call, error: BaseException) -> BaseException:
    """Note on the call how it ended, and return the error as it leaves: an :class:`MCPError`, another status, or the
    cancellation that it is."""
    if isinstance(error, MCPError):
        call.reason, call.code = error.reason, error.code
        call.turn = call.turn or error.metadata.get("turn", "")
        return error
    if isinstance(error, OtherStatus):
        call.reason = call.code = error.code
        return error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if isinstance(error, CallerLeft) or (task is not None and task.cancelling()):
            # The caller left, or the server stops: the edge knows, and wants to see the cancellation.
            call.reason = call.code = "CANCELLED"
            return error
    elif not isinstance(error, Exception):
        return error
    return _internal(call, error)


def _internal(call: Call, cause: BaseException) -> InternalError:
    error = InternalError.logged(log, "call failed unexpectedly", cause, method=call.method)
    call.reason, call.code = error.reason, error.code
    return error
