"""What every client shares and what does no I/O: how to reach a server, what a call is, how events become an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2, turn_pb2
from mcp_client import _responses
from mcp_client._errors import Details, InternalError
from mcp_client._messages import (
    AttemptSwitched,
    Delta,
    Event,
    HealthStatus,
    Heartbeat,
    PartStarted,
    Reply,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)
from mcp_client._requests import Seconds, argument

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a call that asks no model may take."""
MIN_KEEPALIVE: Final = 10.0
"""Seconds. Servers hang up on clients that ask more often whether they are there."""
WATCH_PAUSE: Final = 0.1
"""Seconds between two looks at a server that is not ready and ends the watch."""
STOP_TIMEOUT: Final = 1.0
"""Seconds that the stop of a turn may take which nobody waits for any more."""
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What a server takes."""


_ONCE: Final = frozenset(
    {
        # A second one would not find what the first has deleted, or not the etag that it has changed.
        "SessionService.DeleteSession",
        "SessionService.UpdateSession",
        # It is asked how things are now.
        "Health.Check",
        "Health.List",
        "Health.Watch",
    }
)


class Method:
    """A method of the contract, as a call needs it.

    Attributes:
        name: ``Service.Method``.
        path: what gRPC calls it.
        streams: whether it answers with a stream.
        repeatable: whether sending a request twice does no more than sending it once.
    """

    def __init__(self, descriptor: Any) -> None:
        self.name = f"{descriptor.containing_service.name}.{descriptor.name}"
        self.path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self.streams: bool = descriptor.server_streaming
        self.repeatable = self.name not in _ONCE
        self._response: Any = GetMessageClass(descriptor.output_type)

    def read(self, data: bytes) -> Any:
        """An answer of this method.

        Raises:
            InternalError: it cannot be read.
        """
        try:
            return self._response.FromString(data)
        except DecodeError as error:
            raise InternalError(f"the answer of {self.path} cannot be read", Details(code="INTERNAL")) from error


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for file in (chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2, turn_pb2, health_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in map(Method, service.methods)
}
"""The methods that a client calls, by ``Service.Method``."""

_SIGNS: Final = str.maketrans("-_.", "aaa")

_HEALTH: Final = {
    health_pb2.HealthCheckResponse.SERVING: HealthStatus.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: HealthStatus.NOT_SERVING,
}


def written(request: Any) -> bytes:
    """A request as it is sent.

    Raises:
        ValueError: it is larger than what a server takes.
    """
    data: bytes = request.SerializeToString()
    if len(data) > MAX_REQUEST_BYTES:
        raise ValueError(f"the request has {len(data):,} bytes; a server takes at most {MAX_REQUEST_BYTES:,}")
    return data


def seconds(name: str, value: Seconds) -> float:
    """A time to wait.

    Raises:
        ValueError: it is not above 0.
        TypeError: it is no time.
    """
    with argument(name):
        result = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise TypeError(f"expected seconds or a timedelta, not {value!r}")
        if not 0 < result < math.inf:
            raise ValueError(f"expected seconds above 0, not {value!r}")
    return result


def health(response: health_pb2.HealthCheckResponse) -> HealthStatus:
    """Whether a service answers."""
    return _HEALTH.get(response.status, HealthStatus.UNKNOWN)


class Settings:
    """How a client reaches its server.

    Args:
        address: ``host:port``, or any target that gRPC resolves.
        metadata: sent with each call.
        timeout: seconds that a call that asks no model may take.
        keepalive: seconds without traffic after which the connection is tried.
    """

    def __init__(self, *, address: str, metadata: Mapping[str, str], timeout: Seconds, keepalive: Seconds) -> None:
        with argument("address"):
            if not address or not isinstance(address, str):
                raise ValueError(f"expected host:port, not {address!r}")
            address.encode()
        with argument("metadata"):
            self.metadata = tuple([(key.lower(), _header(key, value)) for key, value in metadata.items()])
        self.address = address
        self.timeout = seconds("timeout", timeout)
        if seconds("keepalive", keepalive) < MIN_KEEPALIVE:
            raise ValueError(f"keepalive: expected at least {MIN_KEEPALIVE:g} seconds, not {keepalive}")
        self.options = (
            ("grpc.primary_user_agent", f"contextprotocol-python/{_version()}"),
            ("grpc.keepalive_time_ms", int(seconds("keepalive", keepalive) * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # While an answer is awaited nothing is sent but pings; all of them count.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
            # A server that comes back is found again within a second or two, and not after gRPC's two minutes. (The
            # option for the least is left alone: it is the time that one attempt may take.)
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        )


class Answer:
    """An answer that grows: the events of a turn fold into it.

    Args:
        turn: the turn's full name, if it is known.
        sequence: the last event that was seen before.

    Attributes:
        turn: the turn's full name, once it is known.
        sequence: the last event that was seen.
        model: the ``provider/model`` that answers, once it is known.
        reply: the whole answer, once it is.
    """

    def __init__(self, turn: str = "", sequence: int = 0) -> None:
        self.turn = turn
        self.sequence = sequence
        self.model = ""
        self.reply: Reply | None = None
        self._texts: list[str] = []
        self._refusals: set[int] = set()

    @property
    def text(self) -> str:
        """The text so far. What an abandoned attempt had written is not part of it."""
        return self.reply.text if self.reply is not None else "".join(self._texts)

    def take(self, received: Any) -> Event | None:
        """Fold one more event in, and return it; ``None`` if it is newer than this client."""
        event = _responses.event(received, self.turn)
        if isinstance(event, Delta):
            self.sequence = event.sequence
            if event.text and event.part not in self._refusals:
                self._texts.append(event.text)
            return event
        if event is None or isinstance(event, Heartbeat):  # which has no number of its own
            return event
        self.sequence = event.sequence
        if isinstance(event, PartStarted):
            if event.kind == "refusal":
                self._refusals.add(event.part)
        elif isinstance(event, TurnQueued):
            self.turn = event.turn
        elif isinstance(event, TurnStarted):
            self.turn, self.model = event.turn, event.model
        elif isinstance(event, AttemptSwitched):
            self.model = event.to_model
            if event.restarted:
                self._texts.clear()
                self._refusals.clear()
        elif isinstance(event, TurnCompleted):
            self.reply = event.reply
            self.turn = event.reply.turn
        return event

    def whole(self) -> Reply:
        """The answer of a stream that has ended well.

        Raises:
            InternalError: it ended without an answer.
        """
        if self.reply is None:
            raise InternalError(
                "the server ended the stream as a success without saying how it ended", Details(code="INTERNAL")
            )
        return self.reply


def _header(key: str, value: str) -> str:
    """A value that can be sent as metadata. What gRPC cannot send fails in its depths, far from its cause."""
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of {key!r} is not printable ASCII")
    if not (key.isascii() and key.translate(_SIGNS).isalnum()):
        raise ValueError(f"{key!r} is no name of a header: letters, digits, and any of -_. are")
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # it takes a tenth of the time of the whole import

    try:
        return version("contextprotocol")
    except PackageNotFoundError:
        return "unknown"
