"""Servers with API keys, and calls with any credentials."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import grpc
import msgspec
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mcp_server.settings import AuthSettings, Config, KeySettings
from mcp_server.settings import testing_config as settings
from mcp_server.values import SCOPES, SECOND
from mcp_server.values.key_secret import hash_of, new_key_id, new_secret

HOUR = 3600
ENDLESS: Final = ("grpc.health.v1.Health.Watch", "contextprotocol.v1.SessionService.WatchSession")
"""The streams without an end, by the full name of the method."""
Metadata = tuple[tuple[str, str], ...]


class NewKey(NamedTuple):
    """An API key for the settings of a test."""

    id: str
    secret: str
    table: KeySettings

    @property
    def metadata(self) -> Metadata:
        """What a call sends."""
        return bearer(self.secret)


def new_key(
    tenant: str = "red", scopes: Iterable[str] = SCOPES, *, expires: float | None = None, **table: Any
) -> NewKey:
    """A key; ``expires`` in seconds from now."""
    key_id = new_key_id()
    secret = new_secret(key_id)
    if expires is not None:
        moment = time.gmtime(time.time() + expires)
        table["expire_time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
    hashed = f"sha256:{hash_of(secret).hex()}"
    table |= {"hash": hashed, "tenant": tenant, "scopes": tuple(scopes)}
    return NewKey(key_id, secret, KeySettings(**table))


def bearer(secret: str) -> Metadata:
    """The metadata with a bearer token."""
    return (("authorization", f"Bearer {secret}"),)


def config_with(*keys: NewKey, **auth: Any) -> Config:
    """A server whose only provider is ``echo``, with these keys."""
    return msgspec.structs.replace(
        settings(default_model="echo/echo"), auth=AuthSettings(keys={key.id: key.table for key in keys}, **auth)
    )


class Outcome(NamedTuple):
    """How a call ended."""

    code: str
    message: str
    details: bytes
    responses: list[Any]

    @property
    def reason(self) -> str:
        """The reason of its error, as it stands in the details."""
        return self.details.decode(errors="ignore")


async def invoke(
    channel: Any,
    method: MethodDescriptor,
    request: Message | bytes,
    metadata: Metadata = (),
    *,
    timeout: float = 10,
) -> Outcome:
    """Call any method with any metadata; of a stream that goes on, one response is read.

    The channel is one of gRPC, or has a method ``invoke`` of its own.
    """
    if hasattr(channel, "invoke"):
        other: Outcome = await channel.invoke(method, request, metadata)
        return other
    path = f"/{method.containing_service.full_name}/{method.name}"
    body = request if isinstance(request, bytes) else request.SerializeToString()
    parse = GetMessageClass(method.output_type).FromString
    responses: list[Any] = []
    options: dict[str, Any] = {"metadata": metadata, "timeout": timeout}
    try:
        if method.client_streaming or method.server_streaming:
            # One message on every stream: gRPC's client ends with INTERNAL itself if it sends when a call has ended.
            call = channel.unary_stream(path, response_deserializer=parse)(body, **options)
            if method.full_name in ENDLESS:
                responses.append(await call.read())
                call.cancel()
                return Outcome("OK", "", b"", responses)
            responses = [response async for response in call]
        else:
            responses = [await channel.unary_unary(path, response_deserializer=parse)(body, **options)]
    except grpc.aio.AioRpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        details: Any = trailers.get("grpc-status-details-bin", b"")
        return Outcome(error.code().name, error.details() or "", details, responses)
    return Outcome("OK", "", b"", responses)


def now() -> int:
    """The time in nanoseconds."""
    return int(time.time() * SECOND)
