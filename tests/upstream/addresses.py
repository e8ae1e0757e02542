"""Upstreams that cannot be reached, by the name that docs/faults.md uses."""

from __future__ import annotations

from tests.upstream.server import Upstream
from tests.upstream.tls import Authority


def with_address(name: str) -> Upstream:
    """An upstream whose address has that fault."""
    authority = Authority()
    match name:
        case "certificate of an unknown authority":
            return Upstream(tls=authority.port())
        case "expired certificate":
            return Upstream(tls=authority.port(expired=True))
        case "plain HTTP on a TLS port":
            return Upstream(tls=authority.port(), scheme="http")
        case "TLS on a port of plain HTTP":
            return Upstream(scheme="https")
    return Upstream()  # to be stopped where nobody is to listen
