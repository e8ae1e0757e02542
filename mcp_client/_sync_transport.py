"""How a blocking client's bytes travel: on gRPC's own blocking stack, each call in the thread that makes it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import grpc
from grpc.experimental import ChannelOptions

from mcp_client._base import FORKED, STOP_TIMEOUT, Method, connecting, written
from mcp_client._errors import Details, MCPError, ServerUnavailable, error_of
from mcp_client._settings import Headers, Settings, headers

_OPTIONS: Final = (
    # A stream is read by the thread that asks for it, without another one in between: half the work for each token.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)
_CANCELLED: Final[int] = grpc.StatusCode.CANCELLED.value[0]


class SyncTransport:
    """A connection to one server, made when it is first needed. Any number of threads may share it.

    Args:
        settings: how the server is reached.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channel: grpc.Channel | None = None
        self._process: int | None = None
        self._closed = threading.Event()
        self._calls: dict[Method, Any] = {}
        self._changes = threading.Condition()
        self._finishing = 0

    def unary(self, method: Method, request: Any, timeout: float | None) -> Any:
        """Call a method that answers once; ``timeout`` in seconds."""
        try:
            data = self._start(method, request, timeout=timeout)
        except grpc.RpcError as error:
            raise self.error_of(error) from error
        return method.read(data)

    def stream(self, method: Method, request: Any, timeout: float | None) -> SyncResponses:
        """Call a method that answers with a stream; ``timeout`` in seconds."""
        return SyncResponses(self, self._start(method, request, timeout=timeout), method)

    def pause(self, seconds: float) -> None:
        """Wait between two attempts.

        Raises:
            ServerUnavailable: the client was closed meanwhile.
        """
        if self._closed.wait(seconds):
            raise self.cancelled()

    def finish(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do the last of a call; another thread that closes the client waits for it."""
        with self._changes:
            self._finishing += 1
        try:
            work(*arguments)
        finally:
            with self._changes:
                self._finishing -= 1
                self._changes.notify_all()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed.is_set()

    @property
    def usable(self) -> bool:
        """Whether anything can be sent."""
        return not self.closed and not self.forked

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that has the connection."""
        return self._process is not None and self._process != os.getpid()

    def close(self) -> None:
        """Close the connection; calls that run in other threads end."""
        if self.forked:
            self._closed.set()  # the connection is the parent's
            return
        with self._changes:
            self._changes.wait_for(lambda: not self._finishing, 2 * STOP_TIMEOUT)
            self._closed.set()
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def error_of(self, error: grpc.RpcError, *, left: bool = False) -> MCPError:
        """The error to raise for a call that gRPC ended, or that this side has left."""
        if error.code() is not grpc.StatusCode.CANCELLED or not (left or self.closed):
            return error_of(error, self._settings.address)
        if self.closed:
            return self.cancelled()
        message = f"the call to {self._settings.address} was left before it was answered"
        return ServerUnavailable(message, Details(code="CANCELLED"))

    def cancelled(self) -> MCPError:
        """The error to raise for a call that this side ended."""
        address = self._settings.address
        if self.closed:
            message = f"the call to {address} was closed by this client before it was answered"
            return ServerUnavailable(message, Details(code="CANCELLED"))
        # What a signal's handler raises while an answer is read takes the call with it.
        return ServerUnavailable(f"the call to {address} was interrupted", Details(code="UNAVAILABLE"))

    def _start(self, method: Method, request: Any, *, timeout: float | None) -> Any:
        data, begun = written(request), time.monotonic()
        metadata = self._headers()
        if timeout is not None and self._settings.metadata is not None:
            timeout -= time.monotonic() - begun  # the function has taken its time
        call = self._callable(method)
        try:
            return call(data, metadata=metadata, timeout=timeout)
        except ValueError as error:
            if self.closed:  # by another thread, just now
                raise self.cancelled() from error
            raise

    def _headers(self) -> Headers:
        if self._settings.metadata is None:
            return self._settings.headers
        given = self._settings.metadata()
        if not isinstance(given, Mapping):
            raise TypeError(f"metadata: expected a function that returns a mapping, not {type(given).__name__}")
        return headers(given)

    def _callable(self, method: Method) -> Any:
        if self.closed:
            raise RuntimeError("the client is closed")
        if self._process is None:
            self._connect()
        elif self.forked:
            raise RuntimeError(FORKED)
        call = self._calls.get(method)
        if call is None:
            channel = self._channel
            if channel is None:  # closed by another thread, just now
                raise self.cancelled()
            make: Any = channel.unary_stream if method.streams else channel.unary_unary
            call = self._calls[method] = make(method.path)
        return call

    def _connect(self) -> None:
        with self._changes:
            if self._process is not None or self.closed:
                return
            process = connecting()
            target, options = self._settings.target, [*self._settings.options, *_OPTIONS]
            if self._settings.credentials is None:
                self._channel = grpc.insecure_channel(target, options=options)
            else:
                self._channel = grpc.secure_channel(target, self._settings.credentials, options=options)
            self._process = process  # last: from now on other threads use the channel


class SyncResponses:
    """The answers of one call, as they come."""

    def __init__(self, transport: SyncTransport, call: Any, method: Method) -> None:
        self._transport = transport
        self._call = call
        self._method = method
        self._error: MCPError | None = None
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            data = next(self._call)
        except StopIteration:
            self._over = True
            raise
        except grpc.RpcError as error:
            left, self._over = self._over, True
            self._error = self._transport.error_of(error, left=left)
            raise self._error from error
        except BaseException:
            # A signal's handler has raised it, and gRPC has let go of the call.
            self._over = True
            self._error = self._transport.cancelled()
            raise
        return self._method.read(data)

    def cancel(self) -> None:
        """End the call."""
        if self._over or self._transport.forked:  # what ends it is not in this process
            return
        self._over = True
        # gRPC keeps what belongs to such a call until its end is read, and its own `cancel` makes that impossible.
        call = getattr(self._call, "_call", None)
        if call is None:
            self._call.cancel()
            return
        call.cancel(_CANCELLED, "left by the client")
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass
