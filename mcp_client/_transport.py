"""How an asynchronous client's bytes travel. The blocking client has one of its own with the same two calls."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Self

import grpc
import grpc.aio

from mcp_client._base import Method, connecting, written
from mcp_client._errors import Details, MCPError, ServerUnavailable, deadline_passed, error_of
from mcp_client._settings import Headers, Settings, headers


class AsyncTransport:
    """A connection to one server, made inside the running event loop when it is first needed.

    Args:
        settings: how the server is reached.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = asyncio.Event()
        self._calls: dict[Method, Any] = {}
        self._finishing: set[asyncio.Task[None]] = set()

    async def unary(self, method: Method, request: Any, timeout: float | None) -> Any:
        """Call a method that answers once; ``timeout`` in seconds."""
        call = await self._start(method, request, timeout=timeout)
        try:
            data = await call
        except grpc.RpcError as error:
            raise self.error_of(error) from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            raise self.cancelled() from error
        return method.read(data)

    async def stream(self, method: Method, request: Any, timeout: float | None) -> AsyncResponses:
        """Call a method that answers with a stream; ``timeout`` in seconds."""
        return AsyncResponses(self, await self._start(method, request, timeout=timeout), method)

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts.

        Raises:
            ServerUnavailable: the client was closed meanwhile.
        """
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise self.cancelled()

    async def finish(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Do the last of a call, also if its task is cancelled (again) meanwhile."""
        task = asyncio.create_task(work(*arguments))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await asyncio.shield(task)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    @property
    def usable(self) -> bool:
        """Whether anything can be sent."""
        return not self.closed

    async def close(self) -> None:
        """Close the connection; calls that run end."""
        if self._finishing:
            await asyncio.wait(self._finishing)
        self._closed.set()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def error_of(self, error: grpc.RpcError) -> MCPError:
        """The error to raise for a call that gRPC ended."""
        return error_of(error, self._settings.address)

    def cancelled(self) -> MCPError:
        """The error to raise for a call that this side ended, though nobody cancelled the task that waits for it."""
        address = self._settings.address
        if self.closed:
            message = f"the call to {address} was closed by this client before it was answered"
            return ServerUnavailable(message, Details(code="CANCELLED"))
        # A read that is cancelled, by a timeout around it for example, takes its call with it.
        return ServerUnavailable(f"the call to {address} was cancelled while it was read", Details(code="UNAVAILABLE"))

    async def _start(self, method: Method, request: Any, *, timeout: float | None) -> Any:
        data, metadata = written(request), self._settings.headers
        if self._settings.metadata is not None:
            metadata, timeout = await self._asked_headers(self._settings.metadata, timeout)
        return self._callable(method)(data, metadata=metadata, timeout=timeout)

    async def _asked_headers(self, metadata: Callable[[], Any], timeout: float | None) -> tuple[Headers, float | None]:
        """What a function gives as metadata, and the seconds that it has left of ``timeout``."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(timeout) as limit:
                given = metadata()
                found = headers(await given if inspect.isawaitable(given) else given)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise deadline_passed(self._settings.address) from error
        return found, None if timeout is None else timeout - (time.monotonic() - begun)

    def _callable(self, method: Method) -> Any:
        if self.closed:
            raise RuntimeError("the client is closed")
        if self._loop is not asyncio.get_running_loop():
            self._connect()
        assert self._channel is not None
        if method not in self._calls:
            make: Any = self._channel.unary_stream if method.streams else self._channel.unary_unary
            self._calls[method] = make(method.path)
        return self._calls[method]

    def _connect(self) -> None:
        if self._loop is not None:
            raise RuntimeError("the client belongs to the event loop in which it was first used, and this is another")
        connecting()
        self._loop = asyncio.get_running_loop()
        target, options, credentials = self._settings.target, self._settings.options, self._settings.credentials
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)


class AsyncResponses:
    """The answers of one call, as they come."""

    def __init__(self, transport: AsyncTransport, call: Any, method: Method) -> None:
        self._transport = transport
        self._call = call
        self._messages: AsyncIterator[bytes] = call.__aiter__()
        self._method = method
        self._error: MCPError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            data = await anext(self._messages)
        except grpc.RpcError as error:
            self._error = self._transport.error_of(error)
            raise self._error from error
        except asyncio.CancelledError as error:
            # gRPC ends a call whose read is cancelled, and looks from then on as if it had ended well.
            self._error = self._transport.cancelled()
            if _is_cancelled():
                raise
            raise self._error from error
        return self._method.read(data)

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()


def _is_cancelled() -> bool:
    """gRPC cancels whoever waits for a call that was ended elsewhere: only a task that is cancelled may see that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
