"""Refuses to offer the server to a network where nobody is authenticated or everybody can listen in."""

from __future__ import annotations

import ipaddress

from mcp_server.errors import ConfigError
from mcp_server.settings.decoding import shown
from mcp_server.settings.fields import split_address
from mcp_server.settings.tables import Config


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


def web_authentication(config: Config) -> bool:
    """Whether callers over HTTP have to prove who they are."""
    return config.auth.configured or bool(config.authenticators)


def authentication_configured(config: Config) -> bool:
    """Whether nobody can use the server without having proven who it is."""
    return web_authentication(config) or config.server.tls.client_ca is not None


def exposure_problem(config: Config, key: str) -> str:
    """Why the server must not listen on an address with these settings, and what to do; empty if it may.

    Args:
        config: the settings.
        key: the dotted key of the address: ``server.address`` or ``web.address``.
    """
    web = key == "web.address"
    listens = config.web.address if web else config.server.address
    if not listens or config.server.insecure or is_loopback(split_address(listens)[0]):
        return ""
    # HTTP callers have no client certificate.
    authenticated = web_authentication(config) if web else authentication_configured(config)
    also = "" if web else " or server.tls.client_ca"
    encrypted = config.server.tls.certificate is not None or (web and config.web.tls.certificate is not None)
    missing = [
        name
        for name, there in (
            (f"authentication (auth.keys, auth.stored_keys, auth.jwt{also})", authenticated),
            ("TLS (server.tls.certificate and server.tls.key)", encrypted),
        )
        if not there
    ]
    if not missing:
        if not config.server.development:
            return ""
        return (
            f"found {shown(listens)}, which other machines can reach, in development mode, which shows exceptions to "
            "callers; set server.development = false, listen on 127.0.0.1, or set server.insecure = true"
        )
    return (
        f"found {shown(listens)}, which other machines can reach, without {' and without '.join(missing)}; "
        "configure what is missing, listen on 127.0.0.1, or set server.insecure = true if the network or a proxy in "
        "front protects the server"
    )


def channelz_problem(config: Config) -> str:
    """Why channelz must not be served with these settings, and what to do; empty if it may. Unlike the rest of the
    server it is of no use to those who use it, so that ``server.insecure`` does not count."""
    listens = config.server.address
    # The certificate of a client alone gives no scope.
    if not config.server.channelz or web_authentication(config) or is_loopback(split_address(listens)[0]):
        return ""
    return (
        f"found true with {shown(listens)}, which other machines can reach, without authentication (auth.keys, "
        "auth.stored_keys, auth.jwt); configure it, listen on 127.0.0.1, or set server.channelz = false"
    )


def check_exposure(config: Config) -> None:
    """Make sure that the server may listen on its addresses.

    Raises:
        ConfigError: other machines can reach one, without authentication or without TLS.
    """
    if problem := channelz_problem(config):
        raise ConfigError(f"server.channelz: {problem}")
    for key in ("server.address", "web.address"):
        if problem := exposure_problem(config, key):
            raise ConfigError(f"{key}: {problem}")
