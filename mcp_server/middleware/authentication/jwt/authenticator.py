"""Authenticates callers by tokens (JWT) of issuers that the settings name."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from mcp_server.errors import BadCredentials
from mcp_server.interfaces import Call
from mcp_server.middleware.authentication.jwt.claims import ExpiredToken, UnfitClaims
from mcp_server.middleware.authentication.jwt.fetcher import FetchObserver, KeyFetcher
from mcp_server.middleware.authentication.jwt.issuer import Issuer, TokenHeader, VerifiedToken
from mcp_server.principal import Principal
from mcp_server.settings.identities import JWTIssuerSettings
from mcp_server.values import Clock

log = structlog.get_logger("contextprotocol.authentication")

COMPACT: Final = re.compile(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
"""A token: header, claims and signature in base64url."""
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
        self._known: OrderedDict[bytes, VerifiedToken] = OrderedDict()
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
        """Make issuers, by their ``iss``, and read their files; those whose keys are fetched stay if nothing changes,
        and keep their keys if these come from the same address.

        Raises:
            ConfigError: the keys of one cannot be read.
        """
        made: dict[str, Issuer] = {}
        for name, settings in issuers.items():
            former = self._issuers.get(settings.issuer)
            if former is None or former.fetcher is None:
                made[settings.issuer] = Issuer(name, settings, self._clock, self._observe)
            elif (former.name, former.settings) == (name, settings):
                made[settings.issuer] = former
            else:
                made[settings.issuer] = Issuer(name, settings, self._clock, self._observe, former)
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
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
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

    def _still_holds(self, verified: VerifiedToken) -> bool:
        """Whether the issuer and its keys are the same as when a token was verified."""
        issuer = verified.issuer
        return self._issuers.get(issuer.settings.issuer) is issuer and issuer.keys is verified.keys

    async def _verify(self, token: str, digest: bytes, *, fetch: bool) -> VerifiedToken:
        if len(token) > MAX_TOKEN:
            raise UnfitClaims(f"the token has more than {MAX_TOKEN:,} characters")
        # PyJWT, like Python's base64, passes over characters that do not belong there.
        if not COMPACT.fullmatch(token):
            raise UnfitClaims("the token is malformed")
        header_part, payload_part, _ = token.split(".")
        header = _decode(header_part, TokenHeader)
        claimed = _decode(payload_part, _Unverified)
        issuer = self._issuers.get(claimed.iss)
        if issuer is None:
            raise UnfitClaims("no issuer of that name is configured")
        return await issuer.verify(token, header, f"jwt:{digest.hex()[:32]}", fetch=fetch)


class _Unverified(msgspec.Struct):
    """What a token claims, before its signature is verified: only who is to verify it."""

    iss: str


def _token(call: Call) -> str | None:
    """The token of a call; ``None``: it has none, or an API key, which contains no dot."""
    scheme, _, token = call.metadata.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and "." in token else None


def _decode(part: str, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(f"{part}{'=' * (-len(part) % 4)}"), type=type_)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise UnfitClaims("the token is malformed") from error
