"""The settings of callers who have no API key: issuers of tokens, and client certificates."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from mcp_server.plugin_settings import Secret, Settings
from mcp_server.settings.fields import Models, Scopes, TenantName

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]
SYMMETRIC: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The algorithms that need a shared secret, and its minimum length in bytes."""
ASYMMETRIC: Final = ("RS256", "PS256", "ES256", "EdDSA")
"""The algorithms that are accepted unless an issuer lists its own."""

CertificatePattern = Annotated[
    str,
    Meta(
        pattern=r"^(uri|dns|email):\S*[^*\s]\S*$",
        extra={"allowed": '"uri:", "dns:" or "email:" and a name, with * for any text'},
    ),
]
ClaimName = Annotated[str, Meta(pattern="^[^\\s]{1,256}$", extra={"allowed": "the name of a claim"})]


def check_keys_url(url: str) -> None:
    """Make sure that nobody on the way can replace the keys.

    Raises:
        ValueError: the address is neither https nor of this machine, or has parts that make no sense.
    """
    parts = urlsplit(url)
    host, _ = parts.hostname or "", parts.port
    if not host or parts.username is not None or parts.fragment or parts.scheme not in ("http", "https"):
        raise ValueError(url)
    if parts.scheme == "http" and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise ValueError(url)


class JWTIssuerSettings(Settings):
    """An issuer whose tokens (JWT) callers may send as ``authorization: Bearer …``. Needs the extra ``auth``."""

    issuer: Annotated[str, Meta(min_length=1, max_length=1024, extra={"allowed": "the text of the claim iss"})]
    """The issuer, exactly as the claim ``iss`` of its tokens names it."""
    audiences: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=16, extra={"allowed": "an array of 1 to 16 audiences"})
    ]
    """The names of this server. The claim ``aud`` of a token must contain one of them."""
    algorithms: Annotated[
        tuple[Algorithm, ...],
        Meta(
            min_length=1,
            extra={
                "allowed": "an array of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA, or of "
                "HS256, HS384 and HS512 with a secret"
            },
        ),
    ] = ASYMMETRIC
    """The algorithms with which tokens may be signed. What a token says about itself adds none."""
    jwks_url: (
        Annotated[str, Meta(extra={"check": check_keys_url, "allowed": "an https:// address, or http:// on loopback"})]
        | None
    ) = None
    """The address of the issuer's public keys (JWKS). Redirects are not followed. Exactly one of ``jwks_url``,
    ``keys_file`` and ``secret`` is required."""
    jwks_refresh: Annotated[float, Meta(ge=10, le=86_400)] = 300.0
    """The interval at which ``jwks_url`` is read again, in seconds. A token with an unknown key has it read at once,
    but never less than 10 seconds after the last time. While it cannot be read, the last keys stay valid."""
    ca_file: Path | None = None
    """The certificates of the authorities that ``jwks_url`` is verified with, in PEM format. Not set: those of the
    operating system."""
    keys_file: Path | None = None
    """The file of the issuer's public keys: a JWKS, or public keys in PEM format."""
    secret: Secret | None = None
    """The secret that the issuer and this server share, for HS256, HS384 and HS512: at least 32, 48 or 64 bytes."""
    types: Annotated[tuple[str, ...], Meta(min_length=1, extra={"allowed": "an array of strings"})] = ("JWT", "at+jwt")
    """The types of token that are accepted, by the header ``typ``. A token without it counts as ``JWT``."""
    leeway: Annotated[float, Meta(ge=0, le=300)] = 30.0
    """By how much the clocks of the issuer and of this server may differ, in seconds."""
    tenant: TenantName | None = None
    """The tenant of all callers with tokens of this issuer. Either this or ``tenant_claim`` is required."""
    tenant_claim: ClaimName | None = None
    """The claim that names the tenant, which must be one of ``tenants``. Here and in the other keys, dots lead into
    nested claims, as in ``realm_access.roles``, unless there is a claim with the whole name."""
    tenants: Annotated[tuple[TenantName, ...], Meta(extra={"allowed": "an array of names of tenants"})] = ()
    """The tenants that ``tenant_claim`` may name."""
    scopes: Scopes = ()
    """What every caller with a token of this issuer may do."""
    scopes_claim: ClaimName | None = "scope"
    """The claim that lists what the caller may do beyond ``scopes``: an array, or a text with spaces between."""
    scope_map: Mapping[str, Scopes] = {}
    """What each value of ``scopes_claim`` permits; other values permit nothing. Empty: the values are the names of
    scopes, of which ``admin`` and ``operator`` are ignored."""
    models: Models = ()
    """The models that the callers may use. Empty: all."""
    models_claim: ClaimName | None = None
    """The claim that lists the models that the caller may use, as patterns: an array, or a text with spaces between.
    Tokens without it are refused. Not together with ``models``."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between values that are each valid: the key and the problem."""
        sources = [name for name in ("jwks_url", "keys_file", "secret") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = " and ".join(sources) or "none"
            yield "jwks_url", f"found {found}; expected exactly one of jwks_url, keys_file and secret"
        symmetric = [name for name in self.algorithms if name in SYMMETRIC]
        if self.secret is not None and len(symmetric) < len(self.algorithms):
            yield "algorithms", "with a secret, expected HS256, HS384 or HS512 only"
        elif self.secret is None and symmetric:
            yield "algorithms", f"found {symmetric[0]}, which requires secret"
        elif self.secret is not None:
            longest = max(symmetric, key=SYMMETRIC.__getitem__)
            if len(self.secret.reveal().encode()) < SYMMETRIC[longest]:
                yield "secret", f"is too short; {longest} requires {SYMMETRIC[longest]} bytes"
        if (self.tenant is None) == (self.tenant_claim is None):
            yield "tenant", "expected exactly one of tenant and tenant_claim"
        elif (self.tenant_claim is None) == bool(self.tenants):
            yield "tenants", "expected the tenants that tenant_claim may name, and nothing without tenant_claim"
        if self.models_claim is not None and self.models:
            yield "models", "cannot be combined with models_claim"
        if self.ca_file is not None and self.jwks_url is None:
            yield "ca_file", "requires jwks_url"


class CertificateSettings(Settings):
    """What the clients may do whose certificates have a certain name."""

    tenant: TenantName
    """Their tenant."""
    scopes: Scopes
    """What they may do."""
    models: Models = ()
    """The models that they may use. Empty: all."""
