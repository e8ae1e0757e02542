"""The methods of the contract, as a call needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    key_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
    usage_pb2,
)
from mcp_client._core.defaults import MAX_REQUEST_BYTES
from mcp_client.errors import Details, InternalError

_NOT_IDEMPOTENT: Final = frozenset(
    {
        # A second call would not find the session that the first has deleted, or not the etag that it has changed.
        "SessionService.DeleteSession",
        "SessionService.UpdateSession",
        "KeyService.UpdateKey",
        # A second call would create another key, and the secret of the first would be lost.
        "KeyService.CreateKey",
        # The caller wants the state of this moment.
        "Health.Check",
        "Health.List",
        "Health.Watch",
    }
)


class Method:
    """A method of the contract.

    Attributes:
        name: ``Service.Method``.
        path: the path of the method in gRPC.
        streams: whether the response is a stream.
        idempotent: whether the same request may be sent more than once.
    """

    def __init__(self, descriptor: Any) -> None:
        self.name = f"{descriptor.containing_service.name}.{descriptor.name}"
        self.path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self.streams: bool = descriptor.server_streaming
        self.idempotent = self.name not in _NOT_IDEMPOTENT
        self._request: Any = GetMessageClass(descriptor.input_type)
        self._response: Any = GetMessageClass(descriptor.output_type)

    def codec(self, *, messages: bool) -> Mapping[str, Any]:
        """The codec of gRPC's callable: none, since gRPC's own errors would not say what cannot be encoded or decoded.

        Args:
            messages: whether there are interceptors, which are given messages.
        """
        if not messages:
            return {}
        return {
            "request_serializer": self._request.SerializeToString,
            "response_deserializer": self._response.FromString,
        }

    def decode(self, data: Any) -> Any:
        """Decode a response of the method, unless gRPC has done it.

        Raises:
            InternalError: the data is not a valid response.
        """
        if not isinstance(data, bytes):
            return data
        try:
            return self._response.FromString(data)
        except DecodeError as error:
            message = f"the response of {self.path} cannot be decoded"
            raise InternalError(message, Details(code="INTERNAL")) from error


METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for file in (
        chat_pb2,
        completion_pb2,
        embedding_pb2,
        key_pb2,
        model_pb2,
        session_pb2,
        turn_pb2,
        usage_pb2,
        health_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in map(Method, service.methods)
}
"""The methods that a client calls, by ``Service.Method``."""


def encode(request: Any) -> bytes:
    """Encode a request.

    Raises:
        ValueError: it is larger than a server accepts.
    """
    data: bytes = request.SerializeToString()
    if len(data) > MAX_REQUEST_BYTES:
        raise ValueError(f"the request has {len(data):,} bytes; a server accepts at most {MAX_REQUEST_BYTES:,}")
    return data
