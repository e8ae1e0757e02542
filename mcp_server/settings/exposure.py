"""Refuses to offer the server to a network where nobody is authenticated or everybody can listen in."""

from __future__ import annotations

import ipaddress

from mcp_server.errors import ConfigError
from mcp_server.settings.decoding import shown
from mcp_server.settings.tables import Config, split_address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``, a name or an IP address. Names other than ``localhost`` are not
    resolved: they may lead anywhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def authentication_configured(config: Config) -> bool:
    """Whether nobody can use the server without having proven who it is."""
    return config.auth.configured or bool(config.authenticators) or config.server.tls.client_ca is not None


def exposure_problem(config: Config) -> str:
    """Why the server must not listen on ``server.address`` with these settings, and what to do; empty if it may."""
    server = config.server
    host, _ = split_address(server.address)
    if server.insecure or is_loopback(host):
        return ""
    missing = [
        name
        for name, there in (
            (
                "authentication (auth.keys, auth.stored_keys, auth.jwt or server.tls.client_ca)",
                authentication_configured(config),
            ),
            ("TLS (server.tls.certificate and server.tls.key)", server.tls.certificate is not None),
        )
        if not there
    ]
    if not missing:
        return ""
    return (
        f"found {shown(server.address)}, which other machines can reach, without {' and without '.join(missing)}; "
        "configure what is missing, listen on 127.0.0.1, or set server.insecure = true if the network or a proxy in "
        "front protects the server"
    )


def check_exposure(config: Config) -> None:
    """Make sure that the server may listen on its address.

    Raises:
        ConfigError: other machines can reach the address, without authentication or without TLS.
    """
    if problem := exposure_problem(config):
        raise ConfigError(f"server.address: {problem}")
