"""The settings of the connection: address, credentials, metadata, and the options of gRPC's channel."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import grpc

from mcp_client._core.addresses import TLS_SCHEME, Address, default_address, may_use_proxy, target
from mcp_client._core.arguments import argument, seconds
from mcp_client._core.defaults import MAX_REQUEST_BYTES
from mcp_client.tls import TLS
from mcp_client.values.options import Seconds

Metadata = Mapping[str, str] | Mapping[str, str | bytes]
"""Headers by name; the values of names that end in ``-bin`` are bytes."""
AsyncMetadata = Metadata | Callable[[], Metadata | Awaitable[Metadata]]
"""The headers of each call, or a function that returns them; the function may be asynchronous."""
SyncMetadata = Metadata | Callable[[], Metadata]
"""The headers of each call, or a function that returns them."""
Headers = tuple[tuple[str, str | bytes], ...]
"""Metadata in gRPC's own form."""

MIN_KEEPALIVE: Final = 10.0
"""In seconds. Servers close the connection to clients that send keepalive pings more often."""
MAX_KEEPALIVE: Final = 24 * 3600.0
"""In seconds."""
MAX_HEADER_BYTES: Final = 8 * 1024
"""The maximum size of metadata that a server accepts. gRPC drops larger metadata unpredictably."""

_AUTHORIZATION: Final = "authorization"
_SIGNS: Final = str.maketrans("-_.", "aaa")


class ChannelSettings:
    """The settings of a client's connection, validated.

    Args:
        address: one or several server addresses; ``None``: that of the environment, or the default.
        metadata: the headers of each call, or a function that returns them.
        api_key: sent with each call; ``None``: none is.
        timeout: the timeout of calls that do not involve a model.
        credentials: of an encrypted connection; ``None``: not encrypted, unless the address is ``https://``.
        keepalive: the interval of keepalive pings.
        load_balancing: whether calls are distributed over all addresses; ``None``: if several are given.
        max_connections: per server.

    Attributes:
        address: for messages.
        target: for gRPC.
        metadata: the function that returns the headers, if one was given.
        headers: those of each call, but for what the function returns.
        timeout: in seconds.
        options: of the channel.
        credentials: of the channel.
    """

    def __init__(
        self,
        *,
        address: Address | None,
        metadata: AsyncMetadata,
        api_key: str | None,
        timeout: Seconds,
        credentials: TLS | grpc.ChannelCredentials | None,
        keepalive: Seconds,
        load_balancing: bool | None,
        max_connections: int,
    ) -> None:
        address = default_address() if address is None else address
        with argument("address"):
            self.address = address if isinstance(address, str) else ", ".join(address)
            self.target = target(address)
        if not (isinstance(metadata, Mapping) or callable(metadata)):
            raise TypeError(f"metadata: expected a mapping or a function, not {type(metadata).__name__}")
        self.metadata = None if isinstance(metadata, Mapping) else metadata
        self._key_headers: Headers = _authorization(api_key) if api_key is not None else ()
        self.headers = self.with_key(metadata if isinstance(metadata, Mapping) else {})
        self.timeout = seconds("timeout", timeout)
        if not isinstance(credentials, TLS | grpc.ChannelCredentials | None):
            raise TypeError(f"credentials: expected TLS or gRPC's ChannelCredentials, not {type(credentials).__name__}")
        if credentials is None and self.address.startswith(TLS_SCHEME):
            credentials = TLS()
        self.credentials = credentials.credentials() if isinstance(credentials, TLS) else credentials
        if not MIN_KEEPALIVE <= seconds("keepalive", keepalive) <= MAX_KEEPALIVE:
            raise ValueError(f"keepalive: expected {MIN_KEEPALIVE:g} to {MAX_KEEPALIVE:g} seconds, not {keepalive}")
        balanced = not isinstance(address, str) if load_balancing is None else load_balancing
        self.options: tuple[tuple[str, str | int], ...] = (
            ("grpc.primary_user_agent", f"contextprotocol-python/{version()}"),
            ("grpc.keepalive_time_ms", int(seconds("keepalive", keepalive) * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            # On a connection that is dead in one direction, incoming data satisfies the keepalive, and gRPC gives the
            # ping itself a minute. That is as long as the default retry patience: no attempt would be left.
            ("grpc.http2.ping_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # While a client waits for an answer it sends only pings.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
            # Reconnect to a restarted server within a second or two instead of gRPC's two minutes. (The option for the
            # minimum is not set: it is the timeout of one connection attempt.)
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            # Clients share no connections, nor the pause after one that failed: a new client asks the server itself.
            ("grpc.use_local_subchannel_pool", 1),
            # No proxy reaches this machine from elsewhere, whatever the environment says.
            ("grpc.enable_http_proxy", int(may_use_proxy(self.target))),
            ("grpc.service_config", json.dumps(_service_config(balanced=balanced, max_connections=max_connections))),
        )
        if isinstance(credentials, TLS) and credentials.server_name:
            self.options += (("grpc.ssl_target_name_override", credentials.server_name),)

    def with_key(self, metadata: Metadata) -> Headers:
        """The headers of a call, with the API key if there is one.

        Raises:
            ValueError, TypeError: the metadata cannot be sent.
        """
        found = headers(metadata)
        if self._key_headers and any(key == _AUTHORIZATION for key, _ in found):
            raise ValueError(f"api_key: cannot be combined with {_AUTHORIZATION!r} in the metadata")
        return self._key_headers + found


def headers(metadata: Metadata) -> Headers:
    """Metadata in gRPC's own form.

    Raises:
        ValueError, TypeError: it cannot be sent.
    """
    with argument("metadata"):
        found = tuple([(key.lower(), _header(key, value)) for key, value in metadata.items()])
        if (size := sum([len(key) + len(value) for key, value in found])) > MAX_HEADER_BYTES:
            raise ValueError(f"{size:,} bytes; a server accepts at most {MAX_HEADER_BYTES:,}")
    return found


def _authorization(api_key: str) -> Headers:
    """The header of an API key. No error message quotes the key."""
    if not isinstance(api_key, str):
        raise TypeError(f"api_key: expected a text, not {type(api_key).__name__}")
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("api_key: expected printable ASCII characters without spaces")
    return ((_AUTHORIZATION, f"Bearer {api_key}"),)


def _header(key: str, value: str | bytes) -> str | bytes:
    """The value of a header. Checked here because gRPC's own errors do not name the header."""
    if not (key.isascii() and key.translate(_SIGNS).isalnum()):
        raise ValueError(f"{key!r} is not a valid header name: expected letters, digits, and any of -_.")
    if key.lower().endswith("-bin") is not isinstance(value, bytes):
        raise TypeError(f"the value of {key!r}: names that end in -bin take bytes, all others take str")
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of {key!r} is not printable ASCII")
    return value


def _service_config(*, balanced: bool, max_connections: int) -> dict[str, object]:
    with argument("max_connections"):
        if max_connections not in range(1, 101):
            raise ValueError(f"expected 1 to 100, not {max_connections!r}")
    config: dict[str, object] = {}
    if max_connections > 1:
        config["connectionScaling"] = {"maxConnectionsPerSubchannel": int(max_connections)}
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": ""}  # a draining server gets no new calls
    return config


def version() -> str:
    """The version of this package."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version("contextprotocol")
    except PackageNotFoundError:
        return "unknown"
