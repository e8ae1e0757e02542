"""What the claims of a token whose signature is valid say about the caller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from mcp_server.principal import Principal
from mcp_server.settings.identities import JWTIssuerSettings
from mcp_server.values import SCOPES, Struct

MAX_SUBJECT: Final = 128
"""The most characters of a subject that logs show."""
MAX_MODELS: Final = 64
"""The most models that a token may list."""
_LATEST: Final = 10**11
"""The latest time that a claim may name, in seconds since the Unix epoch: some thousand years ahead."""
_ONLY_BY_SETTINGS: Final = frozenset({"admin", "operator"})
"""Scopes that an issuer grants only where the settings map a value of its own to them: its words for other
applications may be the same."""


class UnfitClaims(Exception):
    """The claims do not admit the caller; the message says why, for the log."""


class ExpiredToken(UnfitClaims):
    """The token was valid and has expired."""


class Period(Struct):
    """When a token is valid, in nanoseconds since the Unix epoch, the difference of clocks included."""

    begin: int
    """The first moment."""
    end: int
    """The moment from which on it is not valid."""

    def check(self, now: int) -> None:
        """Make sure that it is valid now.

        Raises:
            UnfitClaims: it is not.
        """
        if now >= self.end:
            raise ExpiredToken("the token has expired")
        if now < self.begin:
            raise UnfitClaims("the token is not valid yet")


def period(claims: Mapping[str, Any], leeway: float) -> Period:
    """When a token is valid.

    Raises:
        UnfitClaims: ``exp``, ``nbf`` or ``iat`` is not a time, or ``exp`` is missing.
    """
    end = _time(claims, "exp")
    if end is None:
        raise UnfitClaims("the claim exp is missing")
    begin = max(_time(claims, "nbf") or 0, _time(claims, "iat") or 0)
    margin = int(leeway * 1e9)
    return Period(begin=begin - margin, end=end + margin)


def check_addressee(claims: Mapping[str, Any], settings: JWTIssuerSettings) -> None:
    """Make sure that the issuer made the token for this server.

    Raises:
        UnfitClaims: it did not.
    """
    if claims.get("iss") != settings.issuer:
        raise UnfitClaims("the claim iss is another issuer")
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise UnfitClaims("the claim aud is neither a text nor an array of texts")
    if not set(named) & set(settings.audiences):
        raise UnfitClaims("the claim aud is another audience")


def principal(claims: Mapping[str, Any], settings: JWTIssuerSettings, name: str, credential: str) -> Principal:
    """Who the caller is.

    Args:
        claims: all claims of the token.
        settings: the settings of the issuer.
        name: the name of their table.
        credential: identifies the token.

    Raises:
        UnfitClaims: a claim has a value that the settings do not provide for.
    """
    return Principal(
        tenant=_tenant(claims, settings),
        scopes=_scopes(claims, settings),
        models=_models(claims, settings),
        credential=credential,
        subject=_subject(claims, name),
    )


def _tenant(claims: Mapping[str, Any], settings: JWTIssuerSettings) -> str:
    if settings.tenant_claim is None:
        assert settings.tenant is not None  # one of the two is required
        return settings.tenant
    value = _claim(claims, settings.tenant_claim)
    if not isinstance(value, str) or value not in settings.tenants:
        raise UnfitClaims(f"the claim {settings.tenant_claim} is none of tenants")
    return value


def _scopes(claims: Mapping[str, Any], settings: JWTIssuerSettings) -> frozenset[str]:
    granted: set[str] = set(settings.scopes)
    if settings.scopes_claim is None:
        return frozenset(granted)
    listed = _texts(claims, settings.scopes_claim)
    if settings.scope_map:
        granted.update(scope for value in listed for scope in settings.scope_map.get(value, ()))
    else:
        granted.update((set(SCOPES) - _ONLY_BY_SETTINGS).intersection(listed))
    return frozenset(granted)


def _models(claims: Mapping[str, Any], settings: JWTIssuerSettings) -> tuple[str, ...] | None:
    if settings.models_claim is None:
        return settings.models or None
    listed = _texts(claims, settings.models_claim)
    if not listed or len(listed) > MAX_MODELS:
        raise UnfitClaims(f"the claim {settings.models_claim} lists no model, or more than {MAX_MODELS}")
    return tuple(listed)


def _subject(claims: Mapping[str, Any], name: str) -> str:
    """How logs name the caller: on one line, and short."""
    subject = claims.get("sub", "")
    if not isinstance(subject, str):
        raise UnfitClaims("the claim sub is not a text")
    short = subject if len(subject) <= MAX_SUBJECT else f"{subject[: MAX_SUBJECT - 1]}…"
    return f"{name}/{''.join(letter if letter.isprintable() else '?' for letter in short)}"


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The value of a claim, or what a path with dots leads to; ``None`` if it is missing."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _texts(claims: Mapping[str, Any], name: str) -> Collection[str]:
    """The texts of a claim that is an array of them, or one text with spaces between."""
    value = _claim(claims, name)
    if value is None:
        return ()
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UnfitClaims(f"the claim {name} is neither a text nor an array of texts")
    return value


def _time(claims: Mapping[str, Any], name: str) -> int | None:
    """A time in nanoseconds since the Unix epoch."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LATEST:
        raise UnfitClaims(f"the claim {name} is not a time")
    return int(value * 1_000_000_000)
