"""What a TLS port shows that no client should trust."""

from __future__ import annotations

import datetime as dt
import ssl

import trustme


class Authority:
    """Issues certificates for 127.0.0.1; nobody trusts it by default."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    @property
    def pem(self) -> bytes:
        """What a client needs to trust it."""
        return self._authority.cert_pem.bytes()

    def port(self, *, expired: bool = False) -> ssl.SSLContext:
        """The settings of a TLS port."""
        now = dt.datetime.now(dt.UTC)
        begin, end = now - dt.timedelta(days=3), now + dt.timedelta(days=-1 if expired else 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("127.0.0.1", not_before=begin, not_after=end).configure_cert(context)
        return context
