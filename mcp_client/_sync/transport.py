"""The connection of the blocking client, on gRPC's blocking stack. Written by hand."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

import grpc
from grpc.experimental import ChannelOptions

from mcp_client._core.channel import ChannelSettings, Headers
from mcp_client._core.defaults import STOP_TIMEOUT
from mcp_client._core.methods import Method, encode
from mcp_client._core.process import FORKED, check_gevent, connecting_process
from mcp_client._core.received import began, ended, failed, recorded
from mcp_client._core.status import error_of
from mcp_client._core.trace import traced
from mcp_client._sync.interceptors import SyncInterceptor, of_channel
from mcp_client.errors import Details, MCPError, ServerUnavailable

_OPTIONS: Final = (
    # A stream is read in the caller's thread, without a thread in between: half the cost of each token.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)
_CANCELLED: Final[int] = grpc.StatusCode.CANCELLED.value[0]

_log: Final = logging.getLogger("mcp_client")


class SyncTransport:
    """A connection, opened by the first call. Any number of threads may share it.

    Args:
        settings: of the connection.
        interceptors: of each call, the outermost first.
    """

    def __init__(self, settings: ChannelSettings, interceptors: Sequence[SyncInterceptor] = ()) -> None:
        self._settings = settings
        self._interceptors = of_channel(interceptors)
        self._channel: grpc.Channel | None = None
        self._process: int | None = None
        self._closed = threading.Event()
        self._calls: dict[Method, Any] = {}
        self._changes = threading.Condition()
        self._finishing = 0

    def unary(self, method: Method, request: Any, timeout: float | None) -> Any:
        """Call a unary method; ``timeout`` in seconds."""
        record = recorded(method.name)
        try:
            data, call = self._start(method, request, timeout=timeout)
        except grpc.RpcError as error:
            failed(record, error)
            raise self.error_of(error) from error
        if record is not None:
            ended(record, call.initial_metadata(), call.trailing_metadata())
        return method.decode(data)

    def stream(self, method: Method, request: Any, timeout: float | None) -> SyncResponses:
        """Call a streaming method; ``timeout`` in seconds."""
        return SyncResponses(self, self._start(method, request, timeout=timeout), method)

    def pause(self, seconds: float) -> None:
        """Wait between two attempts.

        Raises:
            ServerUnavailable: the client was closed during the wait.
        """
        if self._closed.wait(seconds):
            raise self.cancelled()

    def finish(self, work: Callable[..., None], *arguments: Any) -> None:
        """Complete the clean-up of a call; a thread that closes the client waits for it."""
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
        """Whether calls can be made."""
        return not self.closed and not self.forked

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that opened the connection."""
        return self._process is not None and self._process != os.getpid()

    def close(self) -> None:
        """Close the connection, which ends all calls that run in other threads."""
        if self.forked:
            self._closed.set()  # the connection belongs to the parent process
            return
        with self._changes:
            self._changes.wait_for(lambda: not self._finishing, 2 * STOP_TIMEOUT)
            self._closed.set()
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def error_of(self, error: grpc.RpcError, *, left: bool = False) -> MCPError:
        """The error to raise for a call that gRPC ended, or that the caller has left."""
        code = error.code() if hasattr(error, "code") else None  # an interceptor's has none
        if code is not grpc.StatusCode.CANCELLED or not (left or self.closed):
            return error_of(error, self._settings.address)
        if self.closed:
            return self.cancelled()
        message = f"the call was left before {self._settings.address} answered"
        return ServerUnavailable(message, Details(code="CANCELLED"))

    def cancelled(self) -> MCPError:
        """The error to raise for a call that this client ended."""
        address = self._settings.address
        if self.closed:
            message = f"the client was closed before {address} answered"
            return ServerUnavailable(message, Details(code="CANCELLED"))
        # An exception of a signal handler during a read ends the call.
        return ServerUnavailable(f"the call to {address} was interrupted", Details(code="UNAVAILABLE"))

    def _start(self, method: Method, request: Any, *, timeout: float | None) -> Any:
        data: Any = encode(request)
        if self._interceptors:
            data = request
        begun = time.monotonic()
        metadata = self._headers()
        if timeout is not None and self._settings.metadata is not None:
            timeout -= time.monotonic() - begun  # what the metadata function took
        call = self._callable(method)
        try:
            return call(data, metadata=traced(metadata), timeout=timeout)
        except ValueError as error:
            if self.closed:  # by another thread, at the same moment
                raise self.cancelled() from error
            raise

    def _headers(self) -> Headers:
        if self._settings.metadata is None:
            return self._settings.headers
        result = self._settings.metadata()
        if not isinstance(result, Mapping):
            raise TypeError(f"metadata: expected a function that returns a mapping, not {type(result).__name__}")
        return self._settings.with_key(result)

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
            if channel is None:  # closed by another thread, at the same moment
                raise self.cancelled()
            codec = method.codec(messages=bool(self._interceptors))
            if method.streams:
                call = channel.unary_stream(method.path, **codec)
            else:
                call = channel.unary_unary(method.path, **codec).with_call
            self._calls[method] = call
        return call

    def _connect(self) -> None:
        with self._changes:
            if self._process is not None or self.closed:
                return
            process = connecting_process()
            check_gevent()
            self._channel = self._open([*self._settings.options, *_OPTIONS])
            if not _is_of_grpc(self._channel):
                # An interceptor hides the calls of such streams, and then nobody can free their resources.
                self._channel.close()
                self._channel = self._open(self._settings.options)
            self._process = process  # last, because other threads now use the channel

    def _open(self, options: Sequence[tuple[str, str | int]]) -> grpc.Channel:
        if self._settings.credentials is None:
            channel = grpc.insecure_channel(self._settings.target, options=options)
        else:
            channel = grpc.secure_channel(self._settings.target, self._settings.credentials, options=options)
        return grpc.intercept_channel(channel, *self._interceptors) if self._interceptors else channel


class SyncResponses:
    """The responses of a streaming call."""

    def __init__(self, transport: SyncTransport, call: Any, method: Method) -> None:
        self._transport = transport
        self._call = call
        self._messages: Iterator[Any] = iter(call)
        self._method = method
        self._record = recorded(method.name)
        self._error: MCPError | None = None
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._error is not None:
            raise self._error
        try:
            data = next(self._messages)
        except StopIteration:
            self._over = True
            if self._record is not None and hasattr(self._call, "trailing_metadata"):
                ended(self._record, self._call.initial_metadata(), self._call.trailing_metadata())
            raise
        except grpc.RpcError as error:
            failed(self._record, error)
            left, self._over = self._over, True
            self._error = self._transport.error_of(error, left=left)
            raise self._error from error
        except BaseException:
            # Raised by a signal handler; gRPC has dropped the call.
            self._over = True
            self._error = self._transport.cancelled()
            raise
        if self._record is not None and not self._record.initial and hasattr(self._call, "initial_metadata"):
            began(self._record, self._call.initial_metadata())
        return self._method.decode(data)

    @property
    def is_recorded(self) -> bool:
        """Whether somebody wants the metadata of the call."""
        return self._record is not None

    def cancel(self) -> None:
        """Cancel the call. Never raises: an exception would replace that of the program."""
        if self._over or self._transport.forked:  # a forked process cannot cancel it
            return
        self._over = True
        try:
            _cancel(self._call)
        except Exception:  # noqa: BLE001  # interceptors of other libraries return calls that raise anything
            # The server ends the stream with its turn.
            _log.warning("a stream of %s could not be cancelled", self._method.path, exc_info=True)


def _cancel(call: Any) -> None:
    """Cancel a streaming call, whether it is gRPC's own or an interceptor has wrapped it."""
    if not _is_of_grpc(call):
        # Some interceptors return a generator, which ends the call when it is closed and the call is dropped.
        (call.cancel if hasattr(call, "cancel") else call.close)()
        return
    # gRPC keeps the resources of the call until its end is read, which its own `cancel` makes impossible.
    call._call.cancel(_CANCELLED, "left by the client")
    with contextlib.suppress(grpc.RpcError):
        for _ in call:
            pass


def _is_of_grpc(value: Any) -> bool:
    """Whether a channel or call is gRPC's own, and not that of an interceptor such as OpenTelemetry's."""
    return type(value).__module__ == "grpc._channel"
