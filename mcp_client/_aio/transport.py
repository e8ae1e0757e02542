"""The connection of the asynchronous client. The blocking client has its own."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from mcp_client._aio.interceptors import AsyncInterceptor, of_channel
from mcp_client._core.channel import ChannelSettings, Headers
from mcp_client._core.methods import Method, encode
from mcp_client._core.process import connecting_process
from mcp_client._core.received import began, ended, failed, recorded
from mcp_client._core.status import deadline_exceeded, error_of
from mcp_client._core.trace import traced
from mcp_client.errors import Details, MCPError, ServerUnavailable


class AsyncTransport:
    """A connection, opened in the running event loop by the first call.

    Args:
        settings: of the connection.
        interceptors: of each call, the outermost first.
    """

    def __init__(self, settings: ChannelSettings, interceptors: Sequence[AsyncInterceptor] = ()) -> None:
        self._settings = settings
        self._interceptors = of_channel(interceptors)
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = asyncio.Event()
        self._calls: dict[Method, Any] = {}
        self._finishing: set[asyncio.Task[None]] = set()

    async def unary(self, method: Method, request: Any, timeout: float | None) -> Any:
        """Call a unary method; ``timeout`` in seconds."""
        call = await self._start(method, request, timeout=timeout)
        record = recorded(method.name)
        try:
            # gRPC raises a CancelledError of its own, by which anyio does not know its scope. The shield raises that of
            # the task.
            data = await asyncio.shield(asyncio.ensure_future(call))
        except grpc.RpcError as error:
            failed(record, error)
            raise self.error_of(error) from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                call.cancel()
                raise
            raise self.cancelled() from error
        if record is not None:
            ended(record, await call.initial_metadata(), await call.trailing_metadata())
        return method.decode(data)

    async def stream(self, method: Method, request: Any, timeout: float | None) -> AsyncResponses:
        """Call a streaming method; ``timeout`` in seconds."""
        return AsyncResponses(self, await self._start(method, request, timeout=timeout), method)

    async def pause(self, seconds: float) -> None:
        """Wait between two attempts.

        Raises:
            ServerUnavailable: the client was closed during the wait.
        """
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise self.cancelled()

    async def finish(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Complete the clean-up of a call, even if its task is cancelled (again)."""
        task = asyncio.create_task(work(*arguments))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await uninterrupted(task)
        task.result()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    @property
    def usable(self) -> bool:
        """Whether calls can be made."""
        return not self.closed

    async def close(self) -> None:
        """Close the connection, which ends all running calls, even if the task is cancelled."""
        try:
            await uninterrupted(*self._finishing)
        finally:
            self._closed.set()
            channel, self._channel = self._channel, None
            if channel is not None:
                await channel.close()  # without a grace it does not wait, and so cannot be interrupted

    def error_of(self, error: grpc.RpcError) -> MCPError:
        """The error to raise for a call that gRPC ended."""
        return error_of(error, self._settings.address)

    def cancelled(self) -> MCPError:
        """The error to raise for a call that this client ended, although the waiting task was not cancelled."""
        address = self._settings.address
        if self.closed:
            message = f"the client was closed before {address} answered"
            return ServerUnavailable(message, Details(code="CANCELLED"))
        # gRPC cancels the call when a read is cancelled, for example by a timeout around it.
        return ServerUnavailable(f"the call to {address} was cancelled during a read", Details(code="UNAVAILABLE"))

    async def _start(self, method: Method, request: Any, *, timeout: float | None) -> Any:
        data, metadata = encode(request), self._settings.headers
        if self._interceptors:
            data = request
        if self._settings.metadata is not None:
            metadata, timeout = await self._call_metadata(self._settings.metadata, timeout)
        return self._callable(method)(data, metadata=traced(metadata), timeout=timeout)

    async def _call_metadata(self, metadata: Callable[[], Any], timeout: float | None) -> tuple[Headers, float | None]:
        """The headers that the metadata function returns, and what remains of ``timeout``."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(timeout) as limit:
                result = metadata()
                found = self._settings.with_key(await result if inspect.isawaitable(result) else result)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise deadline_exceeded(self._settings.address) from error
        return found, None if timeout is None else timeout - (time.monotonic() - begun)

    def _callable(self, method: Method) -> Any:
        if self.closed:
            raise RuntimeError("the client is closed")
        if self._loop is not asyncio.get_running_loop():
            self._connect()
        assert self._channel is not None
        if method not in self._calls:
            make: Any = self._channel.unary_stream if method.streams else self._channel.unary_unary
            self._calls[method] = make(method.path, **method.codec(messages=bool(self._interceptors)))
        return self._calls[method]

    def _connect(self) -> None:
        if self._loop is not None:
            raise RuntimeError("a client can only be used in one event loop: create one client per loop")
        connecting_process()
        self._loop = asyncio.get_running_loop()
        target, options, credentials = self._settings.target, self._settings.options, self._settings.credentials
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options, interceptors=self._interceptors)
        else:
            self._channel = grpc.aio.secure_channel(
                target, credentials, options=options, interceptors=self._interceptors
            )


class AsyncResponses:
    """The responses of a streaming call."""

    def __init__(self, transport: AsyncTransport, call: Any, method: Method) -> None:
        self._transport = transport
        self._call = call
        self._messages: AsyncIterator[Any] = call.__aiter__()
        self._method = method
        self._record = recorded(method.name)
        self._error: MCPError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            data = await anext(self._messages)
        except StopAsyncIteration:
            if self._record is not None:
                ended(self._record, await self._call.initial_metadata(), await self._call.trailing_metadata())
            raise
        except grpc.RpcError as error:
            failed(self._record, error)
            self._error = self._transport.error_of(error)
            raise self._error from error
        except asyncio.CancelledError as error:
            # gRPC cancels the call when a read is cancelled, and then reports a successful end.
            self._error = self._transport.cancelled()
            if _is_cancelled():
                raise
            raise self._error from error
        if self._record is not None and not self._record.initial:
            began(self._record, await self._call.initial_metadata())
        return self._method.decode(data)

    @property
    def is_recorded(self) -> bool:
        """Whether somebody wants the metadata of the call."""
        return self._record is not None

    def cancel(self) -> None:
        """Cancel the call."""
        self._call.cancel()


async def uninterrupted(*tasks: asyncio.Task[None]) -> None:
    """Wait for the end of tasks that are known to take a short time, and only then be cancelled.

    anyio cancels a waiting task in every step of the event loop until it leaves the scope: a shield that ends with the
    first cancellation is not enough.
    """
    leaving = _is_cancelled() and sys.exc_info()[1] is not None
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    # A task that is on its way out of a cancelled scope keeps the exception with which it leaves.
    if cancelled is not None and not leaving:
        raise cancelled


def _is_cancelled() -> bool:
    """Whether the current task was cancelled. gRPC also raises CancelledError when the call was ended elsewhere."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
