"""Who a call is made for."""

from __future__ import annotations

from typing import Final

from mcp_server.errors import BadCredentials, NotAllowed
from mcp_server.values import NO_LIMITS, Limits, Struct

MISSING: Final = "the call has no credentials that this server accepts: send the metadata `authorization: Bearer …`"
"""The message to callers without credentials."""


class Principal(Struct):
    """Who a call is made for, as authentication has established."""

    tenant: str = "default"
    """Whose sessions, turns and usage the call works on."""
    key: str = ""
    """The public id of the API key, or empty."""
    scopes: frozenset[str] | None = None
    """What the caller may do; ``None``: everything."""
    models: tuple[str, ...] | None = None
    """The models that the caller may use, as patterns of ``provider/model`` with ``*`` for any text; ``None``: all."""
    limits: Limits = NO_LIMITS
    """The limits of the key, which apply beside those of the tenant."""
    expire_time: int | None = None
    """When the key expires, in nanoseconds since the Unix epoch: no key that it creates or changes lives longer.
    ``None``: never."""
    credential: str = ""
    """Identifies the credential without revealing it, for example ``badge:`` and a number. Running streams with
    the same one are authenticated again once for all of them. Empty: each stream by itself."""
    subject: str = ""
    """Who the caller is, for logs: the name of an issuer and the ``sub`` of its token, or the name in a certificate.
    Empty for API keys."""

    def allows(self, scope: str) -> bool:
        """Whether the caller has that scope."""
        return self.scopes is None or scope in self.scopes

    def require(self, scope: str, what: str) -> None:
        """Make sure that the caller has that scope.

        Raises:
            BadCredentials: the caller has sent no credentials.
            NotAllowed: the credentials of the caller lack the scope.
        """
        if not self.allows(scope):
            if self is STRANGER:
                raise BadCredentials(MISSING)
            raise NotAllowed(f"{what} requires the scope `{scope}`, which the credentials lack")


ANONYMOUS: Final = Principal()
"""The principal of every call while there is no authentication."""

STRANGER: Final = Principal(tenant="", scopes=frozenset(), models=())
"""The principal of a call without credentials that is open to everyone, while there is authentication."""


class PeerCertificate(Struct):
    """The certificate of a client that the listener has verified: who the peer of a connection is."""

    common_name: str = ""
    """The common name of its subject."""
    uris: tuple[str, ...] = ()
    """The URIs among its subject alternative names, for example SPIFFE ids."""
    dns_names: tuple[str, ...] = ()
    """The DNS names among them."""
    emails: tuple[str, ...] = ()
    """The mail addresses among them."""
