"""The addresses of servers, and gRPC's targets that are made of them."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from mcp_client._core import defaults

Address = str | Sequence[str]
"""``host:port``, ``https://host:port`` for one with TLS, or any target that gRPC resolves; or several ``IP:port``."""
TLS_SCHEME: Final = "https://"
"""Begins the address of a server that is called with TLS."""

_SCHEME: Final = re.compile(r"(?:dns|ipv4|ipv6|passthrough):(?://[^/]*/)?", re.IGNORECASE)
_SOCKETS: Final = re.compile(r"(?:unix|unix-abstract|vsock):", re.IGNORECASE)
"""The targets that are no addresses of a network."""
_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})


def default_address() -> str:
    """The address of clients that are given none: that of the environment, or the usual one of this machine."""
    return os.environ.get(defaults.ADDRESS_VARIABLE) or defaults.ADDRESS


def target(address: Address) -> str:
    """The target in gRPC's form.

    Raises:
        ValueError: it is not an address, or several that cannot be one target.
    """
    if isinstance(address, str):
        if not address.removeprefix(TLS_SCHEME):
            raise ValueError("expected host:port")
        address.encode()
        address = address.removeprefix(TLS_SCHEME)
        _check_ports(address)
        return address
    targets = [_ip(one) for one in address]
    versions = {version for version, _ in targets}
    if len(versions) != 1:
        raise ValueError(f"expected addresses of one kind, IPv4 or IPv6, not {address!r}")
    return f"ipv{versions.pop()}:{','.join([target for _, target in targets])}"


def _ip(address: str) -> tuple[int, str]:
    """The IP version of one of several addresses, and the address in gRPC's form."""
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{error}; to balance over a DNS name, pass it alone: 'dns:///{address}'") from error
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"expected IP:port with a port from 1 to 65535, not {address!r}")
    return ip.version, f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _check_ports(target: str) -> None:
    """Refuse ports that do not exist. gRPC would try to resolve them, again and again.

    Raises:
        ValueError: there is one.
    """
    if _SOCKETS.match(target):
        return
    for address in unquote(_SCHEME.sub("", target, count=1)).split(","):
        host, _, port = address.rpartition(":")
        has_port = port.isdecimal() and (":" not in host or host.endswith("]"))
        if host and has_port and not 0 < int(port) < 65536:
            raise ValueError(f"expected host:port with a port from 1 to 65535, not {target!r}")


def may_use_proxy(target: str) -> bool:
    """Whether the proxy variables of the environment may apply to a target: it is one address, of another machine.

    gRPC asks a proxy for several addresses as if they were one name, which no proxy understands.

    Args:
        target: in gRPC's form.
    """
    address = unquote(_SCHEME.sub("", target, count=1))
    return not (_SOCKETS.match(target) or "," in address or _is_local(_host(address)))


def _is_local(host: str) -> bool:
    """Whether a host is this machine."""
    if host in _NAMES or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback or ip.is_unspecified


def _host(address: str) -> str:
    """The host of ``host:port``, in lower case and without brackets and the dot at its end."""
    if address.startswith("["):
        return address[1:].partition("]")[0].lower()
    host = address if address.count(":") > 1 else address.partition(":")[0]  # an IPv6 address without a port
    return host.lower().removesuffix(".")
