"""Authenticates callers by the names in their client certificates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import structlog

from mcp_server.errors import BadCredentials
from mcp_server.interfaces import Call
from mcp_server.principal import PeerCertificate, Principal
from mcp_server.settings.identities import CertificateSettings

log = structlog.get_logger("contextprotocol.authentication")

MAX_NAME: Final = 256
"""The most characters of a name that logs show."""
_SEPARATORS: Final = {"uri": "/", "dns": ".", "email": "@"}
"""What ``*`` does not match in each kind of name."""


class CertificateAuthenticator:
    """An :class:`~mcp_server.interfaces.Authenticator` of client certificates, which the listener has verified.

    Only subject alternative names count: authorities check them, and not every common name. Without rows, certificates
    open connections and are no credentials.

    Args:
        rows: what clients may do, by a pattern of a name in their certificate: ``uri:``, ``dns:`` or ``email:`` and a
            text in which ``*`` stands for any text up to the next ``/``, ``.`` or ``@``. The first row that matches any
            name applies.
    """

    def __init__(self, rows: Mapping[str, CertificateSettings]) -> None:
        self.replace_settings(rows)

    def replace_settings(self, rows: Mapping[str, CertificateSettings]) -> None:
        """Use these rows from now on."""
        self._rows = [(_expression(pattern), row) for pattern, row in rows.items()]

    async def authenticate(self, call: Call, /) -> Principal | None:
        """Whose certificate it is; ``None`` if the call has none.

        Raises:
            BadCredentials: no row matches it.
        """
        if call.certificate is None or not self._rows:
            return None
        names = list(_names(call.certificate))
        for expression, row in self._rows:
            for name in names:
                if expression.fullmatch(name):
                    return _principal(name, row)
        log.info("certificate refused", names=[name[:MAX_NAME] for name in names[:5]], peer=call.peer)
        raise BadCredentials("the client certificate does not belong to a caller of this server")


def _names(certificate: PeerCertificate) -> Iterator[str]:
    """All names in a certificate, as patterns are written."""
    yield from [f"uri:{name}" for name in certificate.uris]
    yield from [f"dns:{name.lower()}" for name in certificate.dns_names]
    for name in certificate.emails:
        local, at, domain = name.rpartition("@")
        yield f"email:{local}{at}{domain.lower()}"


def _expression(pattern: str) -> re.Pattern[str]:
    kind, _, text = pattern.partition(":")
    if kind == "dns":
        text = text.lower()
    elif kind == "email":
        local, at, domain = text.rpartition("@")
        text = f"{local}{at}{domain.lower()}"
    any_text = f"[^{_SEPARATORS[kind]}]+"
    return re.compile(f"{kind}:{any_text.join(map(re.escape, text.split('*')))}")


def _principal(name: str, row: CertificateSettings) -> Principal:
    short = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return Principal(
        tenant=row.tenant,
        scopes=frozenset(row.scopes),
        models=row.models or None,
        credential=f"certificate:{name}",
        subject="".join(letter if letter.isprintable() else "?" for letter in short),
    )
