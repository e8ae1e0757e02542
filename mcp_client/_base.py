"""What every client shares and what does no I/O: where the server is, how it is kept, what is sent along."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2
from mcp_client._requests import argument

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a call that asks no model may take."""

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024

METHODS: Final[Mapping[str, Any]] = {
    f"{method.containing_service.name}.{method.name}": method
    for file in (chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2, health_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""The methods that a client calls, by ``Service.Method``."""


class Settings:
    """How a client reaches its server.

    Args:
        address: ``host:port``, or any target that gRPC resolves.
        metadata: sent with each call, for example ``{"authorization": "Bearer …"}``.
        timeout: seconds that a call that asks no model may take.
        keepalive: seconds without traffic after which the connection is tried, at least 10.
    """

    def __init__(self, *, address: str, metadata: Mapping[str, str], timeout: float, keepalive: float) -> None:
        with argument("address"):
            if not address or not isinstance(address, str):
                raise ValueError(f"expected host:port, not {address!r}")
        with argument("timeout"):
            if timeout <= 0:
                raise ValueError(f"expected seconds above 0, not {timeout}")
        with argument("keepalive"):
            if keepalive < 10:
                raise ValueError(
                    f"expected at least 10 seconds, not {keepalive}: servers hang up on those who ask more"
                )
        with argument("metadata"):
            self.metadata = tuple([(key.lower(), value) for key, value in metadata.items()])
        self.address = address
        self.timeout = timeout
        self.options = (
            ("grpc.primary_user_agent", f"contextprotocol-python/{_version()}"),
            ("grpc.keepalive_time_ms", int(keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A server that comes back is found again within a second or two, and not after gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        )


def path_of(method: Any) -> str:
    """The path of a method."""
    return f"/{method.containing_service.full_name}/{method.name}"


def response_class(method: Any) -> Any:
    """The class of a method's answer."""
    return GetMessageClass(method.output_type)


def _version() -> str:
    try:
        return version("contextprotocol")
    except PackageNotFoundError:
        return "unknown"
