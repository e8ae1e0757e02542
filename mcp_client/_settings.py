"""How a client reaches its servers: addresses, credentials, metadata, and what gRPC is told about them."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from mcp_client._arguments import Seconds, argument, seconds

Address = str | Sequence[str]
"""``host:port``, or any target that gRPC resolves; or several of ``IP:port``."""
Metadata = Mapping[str, str] | Mapping[str, str | bytes]
"""Headers by their names; values of those that end in ``-bin`` are bytes."""
AsyncMetadata = Metadata | Callable[[], Metadata | Awaitable[Metadata]]
"""What is sent with each call, or a function that is asked for it before each; the function may be asynchronous."""
SyncMetadata = Metadata | Callable[[], Metadata]
"""What is sent with each call, or a function that is asked for it before each."""
Headers = tuple[tuple[str, str | bytes], ...]
"""Metadata as gRPC takes them."""

MIN_KEEPALIVE: Final = 10.0
"""Seconds. Servers hang up on clients that ask more often whether they are there."""
MAX_KEEPALIVE: Final = 24 * 3600.0
"""Seconds."""
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What a server takes."""
MAX_HEADER_BYTES: Final = 8 * 1024
"""What a server takes of metadata; more than that gRPC refuses at random."""

_PEM: Final = "-----BEGIN "
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
            ValueError: what is given is not in PEM format.
        """
        ca, key, certificate = [_pem(name, getattr(self, name)) for name in ("ca", "key", "certificate")]
        return grpc.ssl_channel_credentials(ca, key, certificate)


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
        if not (isinstance(metadata, Mapping) or callable(metadata)):
            raise TypeError(f"metadata: expected a mapping or a function, not {type(metadata).__name__}")
        self.metadata = None if isinstance(metadata, Mapping) else metadata
        self.headers = headers(metadata) if isinstance(metadata, Mapping) else ()
        self.timeout = seconds("timeout", timeout)
        if not isinstance(credentials, TLS | grpc.ChannelCredentials | None):
            raise TypeError(f"credentials: expected TLS or gRPC's ChannelCredentials, not {type(credentials).__name__}")
        self.credentials = credentials.credentials() if isinstance(credentials, TLS) else credentials
        if not MIN_KEEPALIVE <= seconds("keepalive", keepalive) <= MAX_KEEPALIVE:
            raise ValueError(f"keepalive: expected {MIN_KEEPALIVE:g} to {MAX_KEEPALIVE:g} seconds, not {keepalive}")
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


def headers(metadata: Metadata) -> Headers:
    """Metadata that can be sent.

    Raises:
        ValueError, TypeError: they cannot.
    """
    with argument("metadata"):
        found = tuple([(key.lower(), _header(key, value)) for key, value in metadata.items()])
        if (size := sum([len(key) + len(value) for key, value in found])) > MAX_HEADER_BYTES:
            raise ValueError(f"{size:,} bytes; a server takes at most {MAX_HEADER_BYTES:,}")
    return found


def _header(key: str, value: str | bytes) -> str | bytes:
    """A value that can be sent as metadata. What gRPC cannot send fails in its depths, far from its cause."""
    if not (key.isascii() and key.translate(_SIGNS).isalnum()):
        raise ValueError(f"{key!r} is no name of a header: letters, digits, and any of -_. are")
    if key.lower().endswith("-bin") is not isinstance(value, bytes):
        raise TypeError(f"the value of {key!r}: bytes go with names that end in -bin, and with no others")
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of {key!r} is not printable ASCII")
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
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"expected IP:port, not {address!r}")
    return ip.version, f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _service_config(*, balanced: bool, max_connections: int) -> dict[str, object]:
    with argument("max_connections"):
        if max_connections not in range(1, 101):
            raise ValueError(f"expected 1 to 100, not {max_connections!r}")
    config: dict[str, object] = {}
    if max_connections > 1:
        config["connectionScaling"] = {"maxConnectionsPerSubchannel": int(max_connections)}
    if balanced:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": ""}  # one that drains gets no more calls
    return config


def _pem(name: str, given: Path | str | bytes | None) -> bytes | None:
    """What a file in PEM format holds. No error quotes what was given: it may be a key."""
    if given is None:
        return None
    content = given
    if isinstance(content, str) and _PEM in content:
        content = content.encode()
    if not isinstance(content, bytes):
        try:
            content = Path(content).read_bytes()
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from None
    if _PEM.encode() not in content:
        raise ValueError(f"{name}: expected the path or the content of a file in PEM format")
    return content


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # it takes a tenth of the time of the whole import

    try:
        return version("contextprotocol")
    except PackageNotFoundError:
        return "unknown"
