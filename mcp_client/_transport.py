"""How an asynchronous client's bytes travel. The blocking client has one of its own with the same two calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import grpc.aio

from mcp_client._base import Method, Settings, written
from mcp_client._errors import Details, MCPError, ServerUnavailable, error_of


class AsyncTransport:
    """A connection to one server, made inside the running event loop when it is first needed.

    Args:
        settings: how the server is reached.
        credentials: for a connection by TLS; ``None``: without.
    """

    def __init__(self, settings: Settings, credentials: grpc.ChannelCredentials | None) -> None:
        self._settings = settings
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._calls: dict[Method, Any] = {}

    async def unary(self, method: Method, request: Any, timeout: float | None) -> Any:
        """Call a method that answers once; ``timeout`` in seconds."""
        call = self._start(method, request, timeout=timeout)
        try:
            data = await call
        except grpc.RpcError as error:
            raise error_of(error, self._settings.address) from error
        except asyncio.CancelledError as error:
            _raise_if_closed(error, self._settings.address)
            raise
        return method.read(data)

    def stream(
        self, method: Method, request: Any, timeout: float | None, *, wait_for_ready: bool = False
    ) -> AsyncResponses:
        """Call a method that answers with a stream; ``timeout`` in seconds."""
        call = self._start(method, request, timeout=timeout, wait_for_ready=wait_for_ready)
        return AsyncResponses(call, method, self._settings.address)

    async def close(self) -> None:
        """Close the connection; calls that run end."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _start(self, method: Method, request: Any, **options: Any) -> Any:
        return self._callable(method)(written(request), metadata=self._settings.metadata, **options)

    def _callable(self, method: Method) -> Any:
        if self._closed:
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
        self._loop = asyncio.get_running_loop()
        address, options = self._settings.address, self._settings.options
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, self._credentials, options=options)


class AsyncResponses:
    """The answers of one call, as they come."""

    def __init__(self, call: Any, method: Method, address: str) -> None:
        self._call = call
        self._messages: AsyncIterator[bytes] = call.__aiter__()
        self._method = method
        self._address = address
        self._error: MCPError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            data = await anext(self._messages)
        except grpc.RpcError as error:
            self._error = error_of(error, self._address)
            raise self._error from error
        except asyncio.CancelledError as error:
            _raise_if_closed(error, self._address)
            raise
        return self._method.read(data)

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()


def _raise_if_closed(error: asyncio.CancelledError, address: str) -> None:
    """gRPC cancels whoever waits for a call that was ended elsewhere: only a task that is cancelled may see that."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        message = f"the call to {address} was closed by this client before it was answered"
        raise ServerUnavailable(message, Details(code="CANCELLED")) from error
