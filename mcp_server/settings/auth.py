"""The settings of authentication: who may call, and what for."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mcp_server.plugin_settings import Settings
from mcp_server.settings.fields import Models, PluginName, Scopes, TenantName
from mcp_server.settings.identities import CertificatePattern, CertificateSettings, JWTIssuerSettings


def parse_time(text: str) -> int:
    """Nanoseconds since the Unix epoch of a time such as ``2027-01-31T12:00:00Z``.

    Raises:
        ValueError: it is not such a time, or has no time zone.
    """
    time = dt.datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    since_epoch = time - dt.datetime.fromtimestamp(0, dt.UTC)
    return since_epoch // dt.timedelta(microseconds=1) * 1000


def parse_hash(text: str) -> bytes:
    """The hash in ``sha256:`` and 64 hexadecimal digits.

    Raises:
        ValueError: it is not of that form.
    """
    if re.fullmatch("sha256:[0-9a-f]{64}", text) is None:
        raise ValueError(text)
    return bytes.fromhex(text.removeprefix("sha256:"))


class KeySettings(Settings):
    """An API key. The settings contain a hash of its secret only."""

    hash: Annotated[
        str,
        Meta(
            extra={"check": parse_hash, "hidden": True, "allowed": '"sha256:" and 64 hexadecimal digits in lower case'}
        ),
    ]
    """The SHA-256 of the secret, as ``mcp-server keys new`` prints it."""
    scopes: Annotated[Scopes, Meta(min_length=1)]
    """What the key may do. ``operator`` may name other tenants, and reads the keys and the usage of all."""
    tenant: TenantName = "default"
    """The tenant whose sessions, turns and usage the key works on."""
    models: Models = ()
    """The models that the key may use, as patterns of ``provider/model`` in which ``*`` matches any text. Empty:
    all."""
    display_name: Annotated[str, Meta(max_length=128, extra={"allowed": "a string of up to 128 characters"})] = ""
    """A name for people."""
    expire_time: (
        Annotated[
            str, Meta(extra={"check": parse_time, "allowed": 'a time with its zone, such as "2027-01-31T12:00:00Z"'})
        ]
        | None
    ) = None
    """When the key expires. Not set: never."""
    limits: str = ""
    """The profile of ``limits`` that binds the key, beside that of its tenant. Empty: none does."""


KeyId = Annotated[
    str, Meta(pattern="^[a-z0-9]{12}$", extra={"allowed": "the id of a key: 12 characters of a-z and 0-9"})
]


class AuthSettings(Settings):
    """Who may call the server. Without any of these settings everybody may, without credentials."""

    stored_keys: bool = False
    """Whether API keys may be created by calls (``mcp-server keys create``) and are kept in the store. At the first
    start the server then makes a key with all scopes, unless a key of the settings has the scope ``admin`` or
    ``operator``."""
    first_key_file: Path | None = None
    """Where the secret of that first key is written, in a file that only its owner can read. Not set: beside the file
    of the store, with ``.first-key`` at the end of its name, or for other stores ``first-key`` in the folder
    ``contextprotocol`` of the user's data folder."""
    keys: Mapping[KeyId, KeySettings] = {}
    """API keys by their public ids. ``mcp-server keys new`` makes one."""
    jwt: Mapping[PluginName, JWTIssuerSettings] = {}
    """Issuers of tokens (JWT), each by a name for logs."""
    certificates: Mapping[CertificatePattern, CertificateSettings] = {}
    """Callers with client certificates, by a pattern of a subject alternative name: ``uri:``, ``dns:`` or ``email:``
    and the name, in which ``*`` stands for any text up to the next ``/``, ``.`` or ``@``. The first table that matches
    a certificate applies; clients whose certificate none matches are refused. Requires ``server.tls.client_ca``."""

    @property
    def configured(self) -> bool:
        """Whether callers need credentials."""
        return self.stored_keys or bool(self.keys or self.jwt or self.certificates)
