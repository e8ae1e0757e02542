"""Calls KeyService of a running server, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from google.protobuf import json_format, timestamp_pb2
from google.protobuf.message import Message

from contextprotocol.v1 import key_pb2, key_pb2_grpc

TIMEOUT: Final = 30.0
"""Seconds that a call may take."""
T = TypeVar("T", bound=Message)


class CallFailed(Exception):
    """The server refused a call, or cannot be reached."""


class KeyClient:
    """KeyService of one server.

    Args:
        channel: the connection.
        secret: the API key to call with; empty: none.
    """

    def __init__(self, channel: grpc.Channel, secret: str) -> None:
        self._stub: Any = key_pb2_grpc.KeyServiceStub(channel)
        self._metadata = [("authorization", f"Bearer {secret}")] if secret else []

    def create(self, **fields: Any) -> tuple[key_pb2.Key, str]:
        """Create a key; return it and its secret."""
        created = self._call(self._stub.CreateKey, key_pb2.CreateKeyRequest(key=key_of(**fields)))
        return created.key, created.secret

    def get(self, name: str) -> key_pb2.Key:
        """A key."""
        key: key_pb2.Key = self._call(self._stub.GetKey, key_pb2.GetKeyRequest(name=name))
        return key

    def list(self, tenant: str) -> Iterator[key_pb2.Key]:
        """All keys of a tenant, empty for the caller's own."""
        token = ""
        while True:
            page = self._call(self._stub.ListKeys, key_pb2.ListKeysRequest(tenant=tenant, page_token=token))
            yield from page.keys
            token = page.next_page_token
            if not token:
                return

    def update(self, name: str, cleared: Sequence[str], **fields: Any) -> key_pb2.Key:
        """Set fields of a key, and clear others."""
        request = key_pb2.UpdateKeyRequest(key=key_of(**fields))
        request.key.name = name
        request.update_mask.paths.extend([*fields, *cleared])
        key: key_pb2.Key = self._call(self._stub.UpdateKey, request)
        return key

    def revoke(self, name: str) -> key_pb2.Key:
        """Revoke a key for good."""
        key: key_pb2.Key = self._call(self._stub.RevokeKey, key_pb2.RevokeKeyRequest(name=name))
        return key

    def _call(self, method: Callable[..., Any], request: Message) -> Any:
        try:
            return method(request, metadata=self._metadata, timeout=TIMEOUT)
        except grpc.RpcError as error:
            failed: Any = error
            raise CallFailed(f"{failed.details()} ({failed.code().name})") from error


@contextmanager
def connected(address: str, secret: str, certificates: bytes | None) -> Iterator[KeyClient]:
    """A client of the server at ``address``.

    Args:
        address: ``host:port``.
        secret: the API key to call with; empty: none.
        certificates: those that the server's must be signed by, in PEM format; ``None``: without TLS.
    """
    if certificates is None:
        channel = grpc.insecure_channel(address)
    else:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(certificates))
    with channel:
        yield KeyClient(channel, secret)


def key_of(*, limits: Mapping[str, str] | None = None, expire_time: int | None = None, **fields: Any) -> key_pb2.Key:
    """A key with these fields; limits as texts, and the time in seconds since the Unix epoch.

    Raises:
        CallFailed: a limit has no such name or value.
    """
    key = key_pb2.Key(**fields)
    if limits is not None:
        try:
            json_format.ParseDict(dict(limits), key.limits)
        except json_format.ParseError as error:
            raise CallFailed(str(error)) from error
    if expire_time is not None:
        key.expire_time.CopyFrom(timestamp_pb2.Timestamp(seconds=expire_time))
    return key


def limits_of(key: key_pb2.Key) -> dict[str, str]:
    """The limits of a key that are set, as texts."""
    limits = json_format.MessageToDict(key.limits, preserving_proto_field_name=True)
    return {name: str(value) for name, value in limits.items()}


def state_of(key: key_pb2.Key) -> str:
    """The state of a key, in lower case."""
    return key_pb2.Key.State.Name(key.state).removeprefix("STATE_").lower()
