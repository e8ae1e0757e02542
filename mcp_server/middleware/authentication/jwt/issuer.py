"""One issuer of tokens: its settings, its keys, and the verification of its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import msgspec

from mcp_server.errors import ConfigError
from mcp_server.middleware.authentication.jwt.claims import Period, UnfitClaims, check_addressee, period, principal
from mcp_server.middleware.authentication.jwt.fetcher import FetchObserver, KeyFetcher
from mcp_server.middleware.authentication.jwt.keys import KeySet, UnusableKeys, parse_file, secret_key
from mcp_server.principal import Principal
from mcp_server.settings.identities import SYMMETRIC, JWTIssuerSettings
from mcp_server.values import Clock, Struct


class TokenHeader(msgspec.Struct):
    """The header of a token, of which nobody knows yet who wrote it."""

    alg: str
    kid: str = ""
    typ: str = "JWT"
    crit: Any = None


class VerifiedToken(Struct):
    """A token whose signature and claims have been verified."""

    principal: Principal
    """Who sends it."""
    period: Period
    """When it is valid."""
    issuer: Issuer
    """Whose it is."""
    keys: KeySet
    """The keys with which it was verified."""


class Issuer:
    """One issuer and its keys.

    Args:
        name: the name of its table in the settings.
        settings: the table.
        clock: the time, in nanoseconds since the Unix epoch.
        observe: called after each fetch of keys.
        former: the same issuer with other settings. Its keys are used until they are fetched again, if the new settings
            have them fetched from the same address.

    Attributes:
        fetcher: fetches the keys; ``None``: they are in the settings or in a file.

    Raises:
        ConfigError: the keys cannot be read.
    """

    def __init__(
        self,
        name: str,
        settings: JWTIssuerSettings,
        clock: Clock,
        observe: FetchObserver,
        former: Issuer | None = None,
    ) -> None:
        self.settings = settings
        self.name = name
        self._clock = clock
        self.fetcher = KeyFetcher(name, settings, observe) if settings.jwks_url is not None else None
        earlier = former.fetcher if former is not None and _source(former.settings) == _source(settings) else None
        if self.fetcher is not None and earlier is not None:
            self.fetcher.inherit(earlier)
        self._fixed = KeySet() if self.fetcher is not None else _fixed_keys(name, settings)
        self._types = frozenset(one.lower() for one in settings.types)
        self._jws = jwt.PyJWS(algorithms=list(settings.algorithms))

    @property
    def keys(self) -> KeySet:
        """The keys at present."""
        return self._fixed if self.fetcher is None else self.fetcher.keys

    async def verify(self, token: str, header: TokenHeader, credential: str, *, fetch: bool) -> VerifiedToken:
        """Verify a token that names this issuer.

        Args:
            token: the token.
            header: its header.
            credential: identifies it.
            fetch: whether to fetch the keys if it is signed with an unknown one.

        Raises:
            UnfitClaims: it is not valid.
        """
        if header.alg not in self.settings.algorithms:
            raise UnfitClaims("the algorithm is none of algorithms")
        if header.typ.lower().removeprefix("application/") not in self._types:
            raise UnfitClaims("the type is none of types")
        if header.crit is not None:
            raise UnfitClaims("the token has a critical extension")
        if fetch and self.fetcher is not None and not self.keys.candidates(header.kid, header.alg):
            await self.fetcher.renew()
        keys = self.keys
        claims = self._claims(token, header, keys)
        check_addressee(claims, self.settings)
        valid = period(claims, self.settings.leeway)
        valid.check(self._clock())
        return VerifiedToken(
            principal=principal(claims, self.settings, self.name, credential), period=valid, issuer=self, keys=keys
        )

    def _claims(self, token: str, header: TokenHeader, keys: KeySet) -> dict[str, Any]:
        """The claims of a token that one of the keys has signed."""
        if not keys.keys:
            raise UnfitClaims("the keys of the issuer could not be fetched yet")
        for candidate in keys.candidates(header.kid, header.alg):
            try:
                payload = self._jws.decode(token, candidate.key, algorithms=[header.alg])
                return msgspec.json.decode(payload, type=dict[str, Any])
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, msgspec.MsgspecError, RecursionError) as error:
                raise UnfitClaims("the token is malformed") from error
        raise UnfitClaims("no key of the issuer has signed the token")


def _source(settings: JWTIssuerSettings) -> tuple[str | None, Path | None]:
    """Where keys are fetched from, and who vouches for it."""
    return settings.jwks_url, settings.ca_file


def _fixed_keys(name: str, settings: JWTIssuerSettings) -> KeySet:
    if settings.secret is not None:
        return secret_key(settings.secret.reveal().encode(), [one for one in settings.algorithms if one in SYMMETRIC])
    assert settings.keys_file is not None
    try:
        return parse_file(settings.keys_file.read_bytes())
    except UnusableKeys as error:
        raise ConfigError(f"auth.jwt.{name}.keys_file: {settings.keys_file} {error}") from error
    except OSError as error:
        raise ConfigError(f"auth.jwt.{name}.keys_file: {settings.keys_file} cannot be read: {error}") from error
