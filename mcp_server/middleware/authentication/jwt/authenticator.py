"""Authenticates callers by tokens (JWT) of issuers that the settings name."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec
import structlog

from mcp_server.errors import BadCredentials, ConfigError
from mcp_server.interfaces import Call
from mcp_server.middleware.authentication.jwt.claims import (
    ExpiredToken,
    Period,
    UnfitClaims,
    check_addressee,
    period,
    principal,
)
from mcp_server.middleware.authentication.jwt.fetcher import FetchObserver, KeyFetcher
from mcp_server.middleware.authentication.jwt.keys import KeySet, UnusableKeys, parse_file, secret_key
from mcp_server.principal import Principal
from mcp_server.settings.identities import SYMMETRIC, JWTIssuerSettings
from mcp_server.values import Clock, Struct

log = structlog.get_logger("contextprotocol.authentication")

MAX_TOKEN: Final = 8192
"""The most characters of a token: as many as gRPC lets pass by default."""
MAX_KNOWN: Final = 4096
"""How many tokens are remembered whose signatures have been verified."""


class JWTAuthenticator:
    """An :class:`~mcp_server.interfaces.Authenticator` for ``authorization: Bearer …`` with a token.

    A signature is verified once: as long as the keys of the issuer stay the same, the next call with the same token
    only compares its period of validity with the clock.

    Args:
        issuers: the settings of each issuer, by the name of its table.
        clock: the time, in nanoseconds since the Unix epoch.
        observe: called after each fetch of keys.

    Raises:
        ConfigError: the keys of an issuer cannot be read.
    """

    def __init__(self, issuers: Mapping[str, JWTIssuerSettings], clock: Clock, observe: FetchObserver) -> None:
        self._clock = clock
        self._observe = observe
        self._issuers: Mapping[str, Issuer] = {}
        self._fetching: dict[KeyFetcher, asyncio.Task[None]] = {}
        self._known: OrderedDict[bytes, _Verified] = OrderedDict()
        self._issuers = self.prepare(issuers)

    async def open(self) -> None:
        """Fetch the keys, and keep them fresh until :meth:`close`. A server starts although an issuer cannot be
        reached."""
        await asyncio.gather(*[one.fetcher.open() for one in self._issuers.values() if one.fetcher is not None])
        self._follow()

    async def close(self) -> None:
        """Stop fetching keys."""
        self._issuers = {}
        self._follow()

    def prepare(self, issuers: Mapping[str, JWTIssuerSettings]) -> Mapping[str, Issuer]:
        """Make issuers, by their ``iss``, and read their files; those whose keys are fetched stay if nothing changes.

        Raises:
            ConfigError: the keys of one cannot be read.
        """
        made: dict[str, Issuer] = {}
        for name, settings in issuers.items():
            issuer = self._issuers.get(settings.issuer)
            if issuer is None or issuer.fetcher is None or (issuer.name, issuer.settings) != (name, settings):
                issuer = Issuer(name, settings, self._clock, self._observe)
            made[settings.issuer] = issuer
        return made

    def use(self, issuers: Mapping[str, Issuer]) -> None:
        """Accept tokens of these issuers, which :meth:`prepare` has made, and of no other."""
        self._issuers = issuers
        self._known.clear()
        self._follow()

    def _follow(self) -> None:
        """Keep the keys of the present issuers fresh, and of no other."""
        wanted = [one.fetcher for one in self._issuers.values() if one.fetcher is not None]
        for fetcher in [one for one in self._fetching if one not in wanted]:
            self._fetching.pop(fetcher).cancel()
        for fetcher in wanted:
            if fetcher not in self._fetching:
                self._fetching[fetcher] = asyncio.create_task(fetcher.run())

    async def authenticate(self, call: Call, /) -> Principal | None:
        """Who sent the token; ``None`` if the call has none.

        Raises:
            BadCredentials: the token is not valid, or no issuer of it is configured.
        """
        token = _token(call)
        if token is None:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        try:
            verified = self._known.pop(digest, None)
            if verified is None or not self._still_holds(verified):
                # Where the keys have just changed, there are no newer ones to be fetched.
                verified = await self._verify(token, digest, fetch=verified is None)
            verified.period.check(self._clock())
        except ExpiredToken as error:
            raise BadCredentials("the token has expired: send a new one") from error
        except UnfitClaims as error:
            # Only the log says why, as strangers would learn what exists.
            log.info("token refused", reason=str(error), peer=call.peer)
            raise BadCredentials("the token is not valid for this server") from error
        self._known[digest] = verified
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return verified.principal

    def _still_holds(self, verified: _Verified) -> bool:
        """Whether the issuer and its keys are the same as when a token was verified."""
        issuer = verified.issuer
        return self._issuers.get(issuer.settings.issuer) is issuer and issuer.keys is verified.keys

    async def _verify(self, token: str, digest: bytes, *, fetch: bool) -> _Verified:
        if len(token) > MAX_TOKEN:
            raise UnfitClaims(f"the token has more than {MAX_TOKEN:,} characters")
        if token.count(".") != 2:
            raise UnfitClaims("the token is malformed")
        header_part, payload_part, _ = token.split(".")
        header = _decode(header_part, _Header)
        claimed = _decode(payload_part, _Unverified)
        issuer = self._issuers.get(claimed.iss)
        if issuer is None:
            raise UnfitClaims("no issuer of that name is configured")
        return await issuer.verify(token, header, f"jwt:{digest.hex()[:32]}", fetch=fetch)


class _Header(msgspec.Struct):
    """The header of a token, of which nobody knows yet who wrote it."""

    alg: str
    kid: str = ""
    typ: str = "JWT"
    crit: Any = None


class _Unverified(msgspec.Struct):
    """What a token claims, before its signature is verified: only who is to verify it."""

    iss: str


class _Verified(Struct):
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

    Attributes:
        fetcher: fetches the keys; ``None``: they are in the settings or in a file.

    Raises:
        ConfigError: the keys cannot be read.
    """

    def __init__(self, name: str, settings: JWTIssuerSettings, clock: Clock, observe: FetchObserver) -> None:
        self.settings = settings
        self.name = name
        self._clock = clock
        self.fetcher = KeyFetcher(name, settings, observe) if settings.jwks_url is not None else None
        self._fixed = KeySet() if self.fetcher is not None else _fixed_keys(name, settings)
        self._types = frozenset(one.lower() for one in settings.types)
        self._jws = jwt.PyJWS(algorithms=list(settings.algorithms))

    @property
    def keys(self) -> KeySet:
        """The keys at present."""
        return self._fixed if self.fetcher is None else self.fetcher.keys

    async def verify(self, token: str, header: _Header, credential: str, *, fetch: bool) -> _Verified:
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
        return _Verified(
            principal=principal(claims, self.settings, self.name, credential), period=valid, issuer=self, keys=keys
        )

    def _claims(self, token: str, header: _Header, keys: KeySet) -> dict[str, Any]:
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


def _token(call: Call) -> str | None:
    """The token of a call; ``None``: it has none, or an API key, which contains no dot."""
    scheme, _, token = call.metadata.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and "." in token else None


def _decode(part: str, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(f"{part}{'=' * (-len(part) % 4)}"), type=type_)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise UnfitClaims("the token is malformed") from error


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
