"""How a method of a service answers, on any transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from mcp_server.errors import NotSupported
from mcp_server.interfaces import Call, GRPCService

Send = Callable[[Message], Awaitable[None]]
"""Sends one message of a stream; returns when there is room for more."""
Answer = Callable[..., Awaitable[Any]]
"""Carries out a method, as :class:`~mcp_server.interfaces.GRPCService` says."""

_KINDS: Final = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
"""By whether the caller streams, and whether the server does."""


def kind_of(method: MethodDescriptor) -> str:
    """The kind of a method, as in ``Call.kind``."""
    return _KINDS[method.client_streaming, method.server_streaming]


def answer_of(service: GRPCService, method: MethodDescriptor) -> Answer:
    """What carries out a method; it refuses the call if the service does not implement the method."""
    answer: Answer = getattr(service.implementation, method.name, _missing)
    return answer


async def _missing(call: Call, *_: Any) -> Any:
    raise NotSupported(
        f"this server does not implement {call.service}/{call.method}",
        metadata={"method": f"{call.service}.{call.method}"},
    )
