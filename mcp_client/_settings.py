"""How a client reaches its servers: addresses, credentials, metadata, and what gRPC is told about them."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from mcp_client._requests import Seconds, argument, seconds

Address = str | Sequence[str]
"""``host:port``, or any target that gRPC resolves; or several of ``IP:port``."""
AsyncMetadata = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""What is sent with each call, or a function that is asked for it before each; the function may be asynchronous."""
SyncMetadata = Mapping[str, str] | Callable[[], Mapping[str, str]]
"""What is sent with each call, or a function that is asked for it before each."""
Headers = tuple[tuple[str, str], ...]
"""Metadata as gRPC takes them."""

MIN_KEEPALIVE: Final = 10.0
"""Seconds. Servers hang up on clients that ask more often whether they are there."""
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What a server takes."""

_SIGNS: Final = str.maketrans("-_.", "aaa")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """An encrypted connection to a server that proves who it is. Files in PEM format are given by path or content."""

    ca: Path | str | bytes | None = None
    """The certificates of the authorities that are trusted; ``None``: those that come with gRPC."""
    certificate: Path | str | bytes | None = None
    """Your own, with its chain, for servers that ask who you are (mTLS)."""
    key: Path | str | bytes | None = field(default=None, repr=False)
    """The private key of ``certificate``."""
    server_name: str = ""
    """The name in the server's certificate, if it is not that of the address."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both or none")

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC takes; reads the files.

        Raises:
            OSError: a file cannot be read.
        """
        return grpc.ssl_channel_credentials(_content(self.ca), _content(self.key), _content(self.certificate))


class Settings:
    """How a client reaches its servers.

    Args:
        address: of one server or several.
        metadata: sent with each call, or asked for before each.
        timeout: seconds that a call that asks no model may take.
        credentials: for a connection by TLS; ``None``: without.
        keepalive: seconds without traffic after which the connection is tried.
        load_balancing: whether calls go to all addresses in turn; ``None``: if several are given.
        max_connections: to each server.

    Attributes:
        address: for people.
        target: for gRPC.
        metadata: as it was given, if it was a function.
        headers: the metadata, if they were given as they are.
        timeout: in seconds.
        options: of the channel.
        credentials: of the channel.
    """

    def __init__(
        self,
        *,
        address: Address,
        metadata: AsyncMetadata,
        timeout: Seconds,
        credentials: TLS | grpc.ChannelCredentials | None,
        keepalive: Seconds,
        load_balancing: bool | None,
        max_connections: int,
    ) -> None:
        with argument("address"):
            self.address = address if isinstance(address, str) else ", ".join(address)
            self.target = _target(address)
        self.metadata = None if isinstance(metadata, Mapping) else metadata
        self.headers = headers(metadata) if isinstance(metadata, Mapping) else ()
        self.timeout = seconds("timeout", timeout)
        self.credentials = credentials.credentials() if isinstance(credentials, TLS) else credentials
        if seconds("keepalive", keepalive) < MIN_KEEPALIVE:
            raise ValueError(f"keepalive: expected at least {MIN_KEEPALIVE:g} seconds, not {keepalive}")
        balanced = not isinstance(address, str) if load_balancing is None else load_balancing
        self.options: tuple[tuple[str, str | int], ...] = (
            ("grpc.primary_user_agent", f"contextprotocol-python/{_version()}"),
            ("grpc.keepalive_time_ms", int(seconds("keepalive", keepalive) * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A connection that is dead in one direction alone satisfies the keepalive with what still comes in. gRPC
            # gives the ping itself a minute, as long as a client is patient: in that time nothing could be tried again.
            ("grpc.http2.ping_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # While an answer is awaited nothing is sent but pings; all of them count.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
            # A server that comes back is found again within a second or two, and not after gRPC's two minutes. (The
            # option for the least is left alone: it is the time that one attempt may take.)
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.service_config", json.dumps(_service_config(balanced=balanced, max_connections=max_connections))),
        )
        if isinstance(credentials, TLS) and credentials.server_name:
            self.options += (("grpc.ssl_target_name_override", credentials.server_name),)


def headers(metadata: Mapping[str, str]) -> Headers:
    """Metadata that can be sent.

    Raises:
        ValueError, TypeError: they cannot.
    """
    with argument("metadata"):
        return tuple([(key.lower(), _header(key, value)) for key, value in metadata.items()])


def _header(key: str, value: str) -> str:
    """A value that can be sent as metadata. What gRPC cannot send fails in its depths, far from its cause."""
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of {key!r} is not printable ASCII")
    if not (key.isascii() and key.translate(_SIGNS).isalnum()):
        raise ValueError(f"{key!r} is no name of a header: letters, digits, and any of -_. are")
    return value


def _target(address: Address) -> str:
    if isinstance(address, str):
        if not address:
            raise ValueError("expected host:port")
        address.encode()
        return address
    targets = [_ip(one) for one in address]
    versions = {version for version, _ in targets}
    if len(versions) != 1:
        raise ValueError(f"expected addresses of one kind, IPv4 or IPv6, not {address!r}")
    return f"ipv{versions.pop()}:{','.join([target for _, target in targets])}"


def _ip(address: str) -> tuple[int, str]:
    """The version of an address that is one of several, and the address as gRPC takes it."""
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{error}; a name of several servers is given alone: 'dns:///{address}'") from error
    if not port.isdecimal():
        raise ValueError(f"expected IP:port, not {address!r}")
    return ip.version, f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _service_config(*, balanced: bool, max_connections: int) -> dict[str, object]:
    with argument("max_connections"):
        if not 1 <= max_connections <= 100:
            raise ValueError(f"expected 1 to 100, not {max_connections!r}")
    config: dict[str, object] = {}
    if max_connections > 1:
        config["connectionScaling"] = {"maxConnectionsPerSubchannel": max_connections}
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": ""}  # one that drains gets no more calls
    return config


def _content(pem: Path | str | bytes | None) -> bytes | None:
    return pem if pem is None or isinstance(pem, bytes) else Path(pem).read_bytes()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # it takes a tenth of the time of the whole import

    try:
        return version("contextprotocol")
    except PackageNotFoundError:
        return "unknown"
