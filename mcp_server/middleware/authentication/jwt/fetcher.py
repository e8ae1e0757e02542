"""Fetches the public keys of an issuer, and keeps them fresh."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final

import aiohttp
import structlog

from mcp_server.errors import ConfigError
from mcp_server.middleware.authentication.jwt.keys import MAX_BYTES, KeySet, UnusableKeys, parse_jwks
from mcp_server.settings.identities import JWTIssuerSettings

log = structlog.get_logger("contextprotocol.authentication")

SECONDS: Final = 5.0
"""How long one fetch may take."""
PAUSE: Final = 10.0
"""The shortest time between two fetches, in seconds: whatever tokens callers send."""

FetchObserver = Callable[[str, bool], None]
"""Called after each fetch, with the name of the issuer and whether it succeeded."""


class KeyFetcher:
    """Has the keys of one issuer, the last ones that could be fetched.

    Args:
        name: the name of the issuer's table in the settings.
        settings: the table; ``jwks_url`` is set.
        observe: called after each fetch.
        clock: a monotonic clock, in seconds.

    Attributes:
        keys: the keys; none before the first fetch that succeeds.

    Raises:
        ConfigError: ``ca_file`` cannot be used.
    """

    def __init__(
        self,
        name: str,
        settings: JWTIssuerSettings,
        observe: FetchObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert settings.jwks_url is not None
        self.keys = KeySet()
        self._name = name
        self._url = settings.jwks_url
        self._interval = settings.jwks_refresh
        self._observe = observe
        self._clock = clock
        self._ssl = _ssl_context(name, settings)
        self._body = b""
        self._last_begin: float | None = None
        self._failures = 0
        self._fetch: asyncio.Task[None] | None = None

    def inherit(self, former: KeyFetcher) -> None:
        """Begin with the last keys of a fetcher that has fetched them from the same address."""
        self.keys, self._body = former.keys, former._body

    async def open(self) -> None:
        """Fetch the keys for the first time. If that fails, :meth:`run` tries again."""
        await self._refresh()

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled."""
        try:
            while True:
                if self._last_begin is not None:
                    # After a failure, do not wait as long as for keys that are only to be replaced.
                    await asyncio.sleep(self._pause() if self._failures else self._interval)
                await self._refresh()
        finally:
            if self._fetch is not None:
                self._fetch.cancel()

    async def renew(self) -> None:
        """Fetch the keys since a token names an unknown one, unless they have been fetched within :data:`PAUSE`."""
        if self._fetch is not None or self._last_begin is None or self._clock() - self._last_begin >= PAUSE:
            await self._refresh()

    def _pause(self) -> float:
        """How long to wait after a failure: longer after each, until it is as long as ever."""
        return min(PAUSE * 2.0 ** min(self._failures - 1, 16), self._interval)

    async def _refresh(self) -> None:
        """Fetch the keys, together with everybody who wants them fetched now."""
        if self._fetch is None:
            self._last_begin = self._clock()
            self._fetch = asyncio.create_task(self._fetch_once())
            self._fetch.add_done_callback(self._ended)
        # Not awaited itself: a caller who leaves must not end the fetch for the others.
        await asyncio.wait([self._fetch])

    def _ended(self, fetch: asyncio.Task[None]) -> None:
        self._fetch = None
        if not fetch.cancelled() and (error := fetch.exception()) is not None:
            log.error("keys of an issuer not fetched", issuer=self._name, exc_info=error)

    async def _fetch_once(self) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                body = await self._read()
            if body != self._body:
                self._take(body)
        except (aiohttp.ClientError, OSError, UnusableKeys) as error:  # the timeout is an OSError
            self._failures += 1
            log.warning(
                "keys of an issuer cannot be fetched; the last ones stay valid",
                issuer=self._name,
                problem=_why(error),
                keys=len(self.keys.keys),
                failures=self._failures,
            )
            self._observe(self._name, False)
        else:
            self._failures = 0
            self._observe(self._name, True)

    def _take(self, body: bytes) -> None:
        keys = parse_jwks(body)
        for reason in keys.ignored[:3]:
            log.info("key of an issuer is ignored", issuer=self._name, reason=reason)
        self.keys, self._body = keys, body
        log.info("keys of an issuer", issuer=self._name, keys=len(keys.keys))

    async def _read(self) -> bytes:
        """The document.

        Raises:
            aiohttp.ClientError, OSError: it cannot be fetched.
            UnusableKeys: the answer is something else.
        """
        # One connection for each fetch: a kept one would be closed by the time of the next.
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl if self._ssl is not None else True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"accept": "application/json", "accept-encoding": "identity"},
            ) as http,
            http.get(self._url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise UnusableKeys(f"answers with the status {response.status}")
            pieces: list[bytes] = []
            size = 0
            async for piece in response.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BYTES:
                    raise UnusableKeys(f"answers with more than {MAX_BYTES:,} bytes")
            return b"".join(pieces)


def _ssl_context(name: str, settings: JWTIssuerSettings) -> ssl.SSLContext | None:
    if settings.ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"auth.jwt.{name}.ca_file: {settings.ca_file} cannot be used: {error}") from error


def _why(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, TimeoutError):
        return f"no whole answer within {SECONDS:g} s"
    return str(error)[:200] or type(error).__name__
