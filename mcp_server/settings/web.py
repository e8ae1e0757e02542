"""The settings of the HTTP edge: its address, what is served where, and who may call it from web pages."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mcp_server.plugin_settings import Settings
from mcp_server.settings.fields import DAY, OptionalAddress


def _check_network(text: str) -> None:
    ipaddress.ip_network(text, strict=False)


def _check_origin(text: str) -> None:
    if (
        text != "*"
        and re.fullmatch(
            r"https?://(\*\.)?[A-Za-z0-9._-]+(:(\d{1,5}|\*))?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?", text
        )
        is None
    ):
        raise ValueError(text)


HTTPPath = Annotated[
    str,
    Meta(
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        max_length=256,
        extra={"allowed": 'a path such as "/v1", of letters, digits, . _ ~ - and /'},
    ),
]
Paths = Annotated[tuple[HTTPPath, ...], Meta(max_length=16, extra={"allowed": 'an array of paths such as "/v1"'})]
Origin = Annotated[
    str,
    Meta(
        extra={
            "check": _check_origin,
            "allowed": '"https://app.example.com", "https://*.example.com" for its subdomains, '
            '"http://localhost:*" for any port, or "*" for every origin',
        }
    ),
]
Network = Annotated[
    str, Meta(extra={"check": _check_network, "allowed": 'an IP address or a network such as "10.0.0.0/8"'})
]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^(\*\.)?[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$|^\*$",
        extra={"allowed": 'a name such as "chat.example.com" without a port, "*.example.com", or "*" for every name'},
    ),
]
HeaderName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", extra={"allowed": "the name of a header, or *"})
]


class CORSSettings(Settings):
    """Which web pages of other origins may call the server. By default none may."""

    origins: tuple[Origin, ...] = ()
    """The origins of these pages: ``https://app.example.com``, ``https://*.example.com`` for all subdomains,
    ``http://localhost:*`` for any port, or ``*`` for every origin."""
    methods: tuple[HeaderName, ...] = ("GET", "POST", "DELETE")
    """The HTTP methods that they may use."""
    headers: tuple[HeaderName, ...] = ("*",)
    """The headers that they may send; ``*`` stands for all."""
    expose: tuple[HeaderName, ...] = ()
    """The headers of responses that they may read beside those of the protocols that the server speaks."""
    credentials: bool = False
    """Whether browsers send cookies and client certificates along. A key in the header ``authorization`` needs it not.
    It cannot be combined with the origin ``*``."""
    max_age: Annotated[int, Meta(ge=0, le=86_400)] = 600
    """How long a browser may remember the answer, in seconds."""


class WebPaths(Settings):
    """Where each part is served. An empty array switches a part off."""

    connect: Paths = ("/",)
    """The gRPC services of the contract by the Connect protocol and gRPC-Web: ``PATH/contextprotocol.v1.…``."""
    openai: Paths = ("/v1", "/openai/v1")
    """OpenAI's API. Where it shares a path with Anthropic's, the header ``anthropic-version`` tells the two apart."""
    anthropic: Paths = ("/v1", "/anthropic/v1")
    """Anthropic's API."""
    console: Paths = ("/",)
    """The console, a page for people."""


class WebTLSSettings(Settings):
    """The certificate of the HTTP edge. Not set: that of ``server.tls``."""

    certificate: Path | None = None
    """As ``server.tls.certificate``."""
    key: Path | None = None
    """As ``server.tls.key``."""


class WebSettings(Settings):
    """The HTTP edge: browsers, and clients that speak OpenAI's or Anthropic's API. Needs the extra ``web``."""

    address: OptionalAddress | None = None
    """``host:port`` of the HTTP edge, for example ``127.0.0.1:8080``. Port 0 chooses a free port; empty turns it off.
    Not set: ``mcp-server serve`` without a settings file uses ``127.0.0.1:8080`` if the extra ``web`` is installed and
    the port is free; otherwise it is off. An address that is not loopback requires authentication and TLS, as
    ``server.address``."""
    base_path: HTTPPath = ""
    """The path before all others, for a server that a proxy offers under ``/chat``, for example."""
    paths: WebPaths = WebPaths()
    cors: CORSSettings = CORSSettings()
    allowed_hosts: tuple[HostName, ...] = ()
    """The host names under which browsers reach the server. Without authentication, requests to other names than these
    and loopback are refused, so that no foreign page can use the server through a name of its own (DNS rebinding). With
    authentication, an empty array allows every name."""
    trusted_proxies: tuple[Network, ...] = ()
    """The proxies whose headers ``X-Forwarded-For`` and ``X-Forwarded-Proto`` say where a call comes from. Empty: these
    headers are ignored."""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 16 * 1024 * 1024
    """The largest body of a request."""
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """The most connections at a time; requests on further ones are answered with 503."""
    header_timeout: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    """How long the headers of a request may take to arrive after a connection has opened, in seconds; and the rest of a
    request that was answered before its body had come, for example with 401."""
    keep_alive: Annotated[float, Meta(ge=1, le=DAY)] = 75.0
    """How long a connection without requests is kept open, in seconds."""
    tls: WebTLSSettings = WebTLSSettings()
