"""Sends requests to one server over HTTP: one pool of connections, several keys, and the errors of both."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import structlog
from yarl import URL

from mcp_server.errors import ConfigError, MCPError, ProviderStreamCut, ProviderTimeout, ProviderUnavailable
from mcp_server.providers.http import failures
from mcp_server.providers.http.failures import FailureTable, Kind
from mcp_server.providers.http.faults import Fault, fault_of, retry_after
from mcp_server.providers.http.keys import Keys
from mcp_server.providers.http.masking import MASK, mask
from mcp_server.providers.http.settings import HTTPSettings
from mcp_server.trace_context import upstream_headers

log = structlog.get_logger("contextprotocol.providers")

MAX_ERROR_BODY: Final = 64 * 1024
"""How much of an error's body is read, in bytes."""
MAX_HEADER: Final = 8 * 1024
"""The longest header of an answer, in bytes."""
MAX_HEADERS: Final = 128
"""The most headers of an answer."""
LARGE_REQUEST: Final = 1024 * 1024
"""The size in bytes from which a request is sent in pieces."""
ERROR_SECONDS: Final = 5.0
"""How long reading an error's body may take."""
MAX_QUOTE: Final = 80
"""How much of a server's code or type is shown, in characters."""
MIN_SECRET: Final = 6
"""The shortest value of a header that is masked as a secret, in characters: shorter values occur in ordinary text."""
END_SECONDS: Final = 1.0
"""How long a server may take to end the body of a complete answer before its connection is closed."""


def bearer(key: str) -> Mapping[str, str]:
    """The usual header with an API key."""
    return {"Authorization": f"Bearer {key}"}


class Upstream:
    """One server, asked over HTTP.

    Args:
        name: the name of the provider, for messages.
        settings: its settings.
        failures: what the errors of its protocol mean.
        headers: the protocol's headers, sent with every request beside those of the settings.
        authorization: the headers for an API key.

    Raises:
        ConfigError: the certificates of the settings cannot be used.
    """

    def __init__(
        self,
        name: str,
        settings: HTTPSettings,
        *,
        failures: FailureTable,
        headers: Mapping[str, str],
        authorization: Callable[[str], Mapping[str, str]] = bearer,
    ) -> None:
        self.name = name
        self._settings = settings
        self._failures = failures
        self._keys = Keys(settings.all_keys(), rest=settings.key_rest)
        self._ssl = _ssl_context(name, settings.ca_file)
        self._http: aiohttp.ClientSession | None = None
        self._closed = False
        self._open: dict[aiohttp.ClientResponse, int] = {}
        """The answers whose bodies have not ended, each with the number of its key."""
        own = {header: value.reveal() for header, value in settings.headers.items()}
        self._headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # compressed, pieces would wait for each other
            "Content-Type": "application/json",
            "User-Agent": "contextprotocol",
            **headers,
            **own,
        }
        self._authorizations = [authorization(key) for key in settings.all_keys()]
        secrets = {*settings.all_keys(), *[value for value in own.values() if len(value) >= MIN_SECRET]}
        # The longest first: one may be the beginning of another. Servers repeat some values in lower case.
        ordered = sorted(map(re.escape, secrets), key=len, reverse=True)
        self._secrets = re.compile("|".join(ordered), re.IGNORECASE) if ordered else None

    async def post(self, url: URL, model: str, content: bytes) -> aiohttp.ClientResponse:
        """Send one request.

        Args:
            url: the address.
            model: the model that is asked, for messages.
            content: the JSON of the request.

        Returns:
            The answer, with the status 200. The caller reads its body, and calls :meth:`leave` at the end.

        Raises:
            MCPError: there is no answer, or it has another status.
        """
        if self._closed:
            raise self.unavailable("is closed", model)
        if self._http is None:
            self._http = self._session()
        key = self._keys.take(model)
        try:
            response = await self._http.post(
                url,
                data=content if len(content) < LARGE_REQUEST else io.BytesIO(content),
                headers={**upstream_headers(), **(self._authorizations[key] if key >= 0 else {})} or None,
                allow_redirects=False,
            )
        except TimeoutError as error:
            text = f"the provider {self.name} accepted no connection within {self._settings.connect_timeout:g} s"
            raise ProviderTimeout(text, metadata=self._facts(model)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self.unavailable(_why(error), model) from error
        if response.status == 200:
            self._open[response] = key
            return response
        try:
            raise await self._refused(response, model, key)
        finally:
            response.close()

    async def some(self, response: aiohttp.ClientResponse, model: str) -> bytes:
        """The bytes of a body that have arrived, at least one; empty at its end.

        Raises:
            ProviderStreamCut: the connection was lost.
        """
        if self._closed:
            raise self.cut("was closed by this side", model)
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise self.cut("broke its connection off", model) from error

    async def some_within(self, seconds: float, response: aiohttp.ClientResponse, model: str) -> bytes | None:
        """The bytes of a body that arrive in that time; empty at its end, ``None`` if none came or the connection was
        lost."""
        try:
            async with asyncio.timeout(seconds):
                return await self.some(response, model)
        except (TimeoutError, ProviderStreamCut):
            return None

    async def whole(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """The first ``limit`` bytes of a body.

        Raises:
            aiohttp.ClientError, OSError: the connection was lost.
        """
        pieces: list[bytes] = []
        while limit > 0 and (piece := await response.content.read(limit)):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)

    def leave(self, response: aiohttp.ClientResponse, *, complete: bool) -> None:
        """Stop reading an answer.

        Args:
            response: the answer.
            complete: whether only the end of its body is missing, after which the connection can be reused. Otherwise
                the connection is closed now, so that the server stops generating.
        """
        if not complete:
            self._end(response)
        elif response.connection is not None:
            asyncio.get_running_loop().call_later(END_SECONDS, self._end, response)
        else:
            self._open.pop(response, None)

    def _end(self, response: aiohttp.ClientResponse) -> None:
        self._open.pop(response, None)
        response.close()

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        # Closing the session does not wake the readers of an answer.
        for response in tuple(self._open):
            response.close()
        if self._http is not None:
            await self._http.close()

    # -- failures -----------------------------------------------------------------------------------------------------

    def quote(self, text: str, limit: int = MAX_QUOTE) -> str:
        """A text of the server that is safe to show: secrets, addresses and what looks like a key masked, on one line,
        and short."""
        text = text[: failures.MAX_WORDS]
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        text = " ".join(mask(text).split())
        return text if len(text) <= limit else f"{text[:limit]}…"

    def unavailable(self, why: str, model: str) -> ProviderUnavailable:
        """The error of a server that cannot answer."""
        return ProviderUnavailable(f"the provider {self.name} {why}", metadata=self._facts(model))

    def cut(self, why: str, model: str) -> ProviderStreamCut:
        """The error of an incomplete answer."""
        text = f"the answer of the model {model} of the provider {self.name} is not whole: it {why}"
        return ProviderStreamCut(text, metadata=self._facts(model))

    def error_in_answer(self, error: object, model: str, response: aiohttp.ClientResponse, *, begun: bool) -> MCPError:
        """The error of an error object in an answer with the status 200.

        Args:
            error: the error object.
            model: the model that was asked.
            response: the answer, before :meth:`leave`.
            begun: whether pieces of the answer came before.
        """
        fault = fault_of(error)
        kind = self._failures.kind_in_stream(fault, begun=begun)
        return self._error(kind, fault, model, response, self._open.get(response, -1))

    async def _refused(self, response: aiohttp.ClientResponse, model: str, key: int) -> MCPError:
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                fault = fault_of(await self.whole(response, MAX_ERROR_BODY))
        except (aiohttp.ClientError, OSError):  # its timeout is one too
            fault = Fault()
        return self._error(self._failures.kind(response.status, fault), fault, model, response, key)

    def _error(self, kind: Kind, fault: Fault, model: str, response: aiohttp.ClientResponse, key: int) -> MCPError:
        status = response.status if response.status != 200 else fault.status or 200
        fault = msgspec.structs.replace(fault, codes=tuple([self.quote(code) for code in fault.codes]))
        message = self.quote(fault.message, failures.MAX_MESSAGE)
        wait = retry_after(response.headers)
        if wait is None:
            wait = fault.retry_after
        if kind is Kind.NO_MODEL and key >= 0 and self._keys.lacks(key, model):
            kind, wait = Kind.CREDENTIALS, 0.0  # another key may have access to it
            log.warning("key without the model", provider=self.name, model=model, key=key + 1, answer=message)
        elif kind in (Kind.CREDENTIALS, Kind.RATE):
            if key >= 0 and _is_about_key(kind, status, fault):
                # Servers limit the rate of each model separately.
                wait = self._keys.refused(key, model, wait, for_all=kind is Kind.CREDENTIALS)
                if len(self._keys) > 1:
                    log.warning("key suspended", provider=self.name, key=key + 1, keys=len(self._keys), status=status)
            # Sentences in the place of a code are the vendor's words too.
            fault = msgspec.structs.replace(fault, codes=tuple([code for code in fault.codes if " " not in code]))
            log.warning(
                "credentials or quota refused",
                provider=self.name,
                model=model,
                key=key + 1,
                status=status,
                code=fault.codes[0] if fault.codes else "",
                answer=message,
            )
        return failures.error_of(
            kind, fault, provider=self.name, model=model, status=status, message=message, retry_after=wait
        )

    def _facts(self, model: str) -> dict[str, str]:
        return {"provider": self.name, "model": model}

    # -- connections --------------------------------------------------------------------------------------------------

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # the caller limits how many calls run at the same time
            ssl=self._ssl if self._ssl is not None else True,
            force_close=not self._settings.keep_alive,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            # The caller limits the rest.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._settings.connect_timeout),
            proxy=self._settings.proxy.reveal() if self._settings.proxy is not None else None,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
        )


def _is_about_key(kind: Kind, status: int, fault: Fault) -> bool:
    """Whether another key may be accepted: not if a proxy refused the call, nor if only this request is too large for
    the limits."""
    if kind is Kind.RATE:
        return status != 413
    return status != 403 or bool(fault.codes or fault.message)


def _ssl_context(name: str, ca_file: Path | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"providers.{name}.ca_file: {ca_file} cannot be used: {error}") from error


def _why(error: Exception) -> str:
    """Why there is no answer, without addresses."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot be reached: its proxy cannot, {error.os_error.strerror or 'no connection'}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"cannot be reached: its proxy answered with {error.status}"
    if isinstance(error, aiohttp.ClientSSLError):
        return "cannot be reached: TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "cannot be reached: its host has no address"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or 'no connection'}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "answered with what is no HTTP, or with headers that are too long"
    return "closed its connection before it answered"
