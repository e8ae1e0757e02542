"""What every client shares and what does no I/O: how to reach a server, what a call is, how events become an answer."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2, turn_pb2
from mcp_client import _responses
from mcp_client._errors import Details, InternalError, RequestError
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
from mcp_client._settings import MAX_REQUEST_BYTES

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a call that asks no model may take."""
WATCH_PAUSE: Final = 0.1
"""Seconds between two looks at a server that is not ready and ends the watch."""
STOP_TIMEOUT: Final = 1.0
"""Seconds that the stop of a turn may take which nobody waits for any more."""


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

FORKED: Final = (
    "a client was used in the process that this one was forked from, and its connections end there: "
    "fork before the first call, or start processes with the method `spawn`"
)


@functools.cache
def _first_process() -> int:
    return os.getpid()


def connecting() -> int:
    """A connection is about to be made; return the process that it belongs to.

    Raises:
        RuntimeError: gRPC was used in a process from which this one was forked. It would most likely hang.
    """
    process = os.getpid()
    if _first_process() != process:
        raise RuntimeError(FORKED)
    return process


AsyncStatuses: TypeAlias = AsyncGenerator[HealthStatus, None]
SyncStatuses: TypeAlias = Generator[HealthStatus, None, None]
"""How a service fares, as it changes, asynchronous or not."""

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


def health(response: health_pb2.HealthCheckResponse) -> HealthStatus:
    """Whether a service answers."""
    return _HEALTH.get(response.status, HealthStatus.UNKNOWN)


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
        self._begin = sequence
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
            RequestError: it began behind the answer's end.
            InternalError: it ended without an answer.
        """
        if self.reply is None and self.sequence == self._begin > 0:
            raise RequestError(
                f"nothing comes behind event {self._begin}: the answer has ended, and get_turn has it",
                Details(code="OUT_OF_RANGE"),
            )
        if self.reply is None:
            raise InternalError(
                "the server ended the stream as a success without saying how it ended", Details(code="INTERNAL")
            )
        return self.reply
