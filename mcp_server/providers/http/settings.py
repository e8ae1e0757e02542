"""The settings that every provider over HTTP has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta

from mcp_server.plugin_settings import ProviderSettings, Secret


def _check_base_url(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError(address)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(address)


def _check_proxy(address: Secret) -> None:
    parts = urlsplit(address.reveal())
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path.strip("/") or parts.query:
        raise ValueError


def _check_header_values(values: Secret | tuple[Secret, ...]) -> None:
    for value in values if isinstance(values, tuple) else (values,):
        text = value.reveal()
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise ValueError


BaseURL = Annotated[
    str,
    Meta(
        extra={
            "check": _check_base_url,
            "allowed": "an http:// or https:// address without a user, a password or a query",
            "hidden": True,  # an invalid address may contain a password
        }
    ),
]
HEADER_TEXT = "a string of printable ASCII characters"
Key = Annotated[Secret, Meta(extra={"check": _check_header_values, "allowed": HEADER_TEXT})]
Keys = Annotated[
    tuple[Secret, ...], Meta(extra={"check": _check_header_values, "allowed": f"an array, each {HEADER_TEXT}"})
]
HeaderName = Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$", extra={"allowed": "a header"})]
Proxy = Annotated[
    Secret, Meta(extra={"check": _check_proxy, "allowed": "http://host:port, or http://user:password@host:port"})
]


_KEY_HEADERS: Final = ("authorization", "api-key", "x-api-key")


class HTTPSettings(ProviderSettings, kw_only=True):
    """A provider that asks a server over HTTP."""

    base_url: BaseURL
    """The address of the server."""
    api_key: Key | None = None
    """The API key, ``{ file = "path" }`` for a file that contains it, or ``{ env = "NAME" }`` for a variable. Not set,
    and no ``api_keys``: the variable that is usual for the service, such as ``OPENAI_API_KEY`` for api.openai.com; for
    others no key is sent."""
    api_keys: Keys = ()
    """Several API keys, or files of keys, used in turn. A key that the server refuses is suspended for a while."""
    key_rest: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    """How long a refused key is suspended if the server does not say, in seconds."""
    headers: Mapping[HeaderName, Key] = {}
    """Further headers of every request. Their values are never shown."""
    ca_file: Path | None = None
    """Certificates of the authorities to trust, as PEM, instead of those of the system."""
    proxy: Proxy | None = None
    """The HTTP proxy for all connections, ``http://host:port`` or ``http://user:password@host:port``, or a file that
    contains the address. Variables such as ``HTTPS_PROXY`` are not read."""
    connect_timeout: Annotated[float, Meta(ge=0.001, le=3600)] = 10.0
    """How long opening a connection may take, TLS included, in seconds."""
    keep_alive: bool = True
    """Whether connections are reused. Turn it off for servers that close idle connections without notice, such as
    llama.cpp's: a request that meets such a close fails and must be sent again."""

    def has_key(self) -> bool:
        """Whether the table sets a key, or a header that usually has one."""
        return bool(self.all_keys()) or any(name.lower() in _KEY_HEADERS for name in self.headers)

    def all_keys(self) -> list[str]:
        """The API keys; empty for a server that needs none."""
        return [key.reveal() for key in (self.api_keys if self.api_key is None else (self.api_key,))]

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """One key, or several."""
        if self.api_key is not None and self.api_keys:
            yield ("api_keys",), "cannot be combined with api_key; set one of the two"
