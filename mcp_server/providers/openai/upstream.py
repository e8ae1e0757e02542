"""The HTTP side of one instance: addresses, keys, one pool of connections, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import structlog
from yarl import URL

from mcp_server.errors import MCPError, ProviderStreamCut, ProviderTimeout, ProviderUnavailable
from mcp_server.providers.openai import failures
from mcp_server.providers.openai.failures import Fault, Kind
from mcp_server.providers.openai.keys import Keys
from mcp_server.providers.openai.options import Options

log = structlog.get_logger("contextprotocol.providers")

MAX_ERROR_BODY: Final = 64 * 1024
"""How much is read of an answer that tells of a failure, in bytes."""
MAX_HEADER: Final = 8 * 1024
"""The longest header of an answer, in bytes."""
MAX_HEADERS: Final = 128
"""The most headers of an answer."""
LARGE_REQUEST: Final = 1024 * 1024
"""From this size on, a request is sent in pieces."""
ERROR_SECONDS: Final = 5.0
"""How long is waited for the words that go with a status that tells of a failure."""
MAX_QUOTE: Final = 80
"""How much of a word of the server's, a code or a type, is shown, in characters."""
MIN_SECRET: Final = 6
"""How long the value of a header must be to count as a secret, in characters: a shorter one is in too many texts."""
END_SECONDS: Final = 1.0
"""How long a server may take to end the body of an answer that is complete; then its connection is not used again."""


class Upstream:
    """One server, asked over HTTP.

    Args:
        options: what is configured.
        keys: the API keys; none for a server that asks for none.
        headers: sent with every request.
        ssl_context: how the server's certificate is checked; ``None``: as usual.
        proxy: the address of an HTTP proxy, perhaps with a user and a password; ``None``: connections are direct.
    """

    def __init__(
        self,
        options: Options,
        *,
        keys: Sequence[str],
        headers: Mapping[str, str],
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
    ) -> None:
        self._options = options
        self._keys = Keys(keys, rest=options.key_rest)
        self._ssl = ssl_context
        self._proxy = proxy
        self._http: aiohttp.ClientSession | None = None
        self._closed = False
        self._open: set[aiohttp.ClientResponse] = set()
        self._urls: dict[str, URL] = {}
        self._headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # compressed, pieces would wait for each other
            "Content-Type": "application/json",
            "User-Agent": "contextprotocol",
            **({"OpenAI-Organization": options.organization} if options.organization else {}),
            **({"OpenAI-Project": options.project} if options.project else {}),
            **headers,
        }
        self._authorizations = [
            {"api-key": key} if options.api_version else {"Authorization": f"Bearer {key}"} for key in keys
        ]
        hidden = {*keys, *[value for value in headers.values() if len(value) >= MIN_SECRET]}
        # The longest first: one may be the beginning of another. Servers give some words back in small letters.
        ordered = sorted(map(re.escape, hidden), key=len, reverse=True)
        self._hidden = re.compile("|".join(ordered), re.IGNORECASE) if ordered else None

    async def post(self, path: str, model: str, content: bytes) -> aiohttp.ClientResponse:
        """Ask once. The answer's head has come and says 200; its body is the caller's to read and to :meth:`leave`.

        Raises:
            MCPError: it did not come, or says otherwise.
        """
        if self._closed:
            raise self.unavailable("is closed", model)
        if self._http is None:
            self._http = self._session()
        key = self._keys.take()
        try:
            response = await self._http.post(
                self._url(path, model),
                data=content if len(content) < LARGE_REQUEST else io.BytesIO(content),
                headers=self._authorizations[key] if key >= 0 else None,
                allow_redirects=False,
            )
        except TimeoutError as error:
            text = f"the provider {self._options.name} took no connection in {self._options.connect_timeout:g} s"
            raise ProviderTimeout(text, metadata=self._facts(model)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self.unavailable(_why(error), model) from error
        if response.status == 200:
            self._open.add(response)
            return response
        try:
            raise await self._refused(response, model, key)
        finally:
            response.close()

    async def some(self, response: aiohttp.ClientResponse, model: str) -> bytes:
        """What has come of a body, at least something; empty at its end.

        Raises:
            ProviderStreamCut: it broke off.
        """
        if self._closed:
            raise self.cut("was closed by this side", model)
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise self.cut("broke its connection off", model) from error

    async def whole(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """A body of up to ``limit`` bytes; what is longer is not read.

        Raises:
            aiohttp.ClientError, OSError: it broke off.
        """
        pieces: list[bytes] = []
        while limit > 0 and (piece := await response.content.read(limit)):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)

    def leave(self, response: aiohttp.ClientResponse, *, complete: bool) -> None:
        """An answer is read no further.

        Args:
            response: the answer.
            complete: nothing is missing but the end of its body, with which the connection can be used again.
                Otherwise the connection is closed now, so that the server stops.
        """
        self._open.discard(response)
        if not complete:
            response.close()
        elif response.connection is not None:
            asyncio.get_running_loop().call_later(END_SECONDS, response.close)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        # Who waits for more of an answer would not hear of it from the session.
        for response in self._open:
            response.close()
        if self._http is not None:
            await self._http.close()

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def quote(self, text: str, limit: int = MAX_QUOTE) -> str:
        """What the server said as others may see it: without secrets, in one line, and short."""
        if self._hidden is not None:
            text = self._hidden.sub("***", text)
        text = " ".join(text.split())
        return text if len(text) <= limit else f"{text[:limit]}…"

    def unavailable(self, why: str, model: str) -> ProviderUnavailable:
        """It is out of order."""
        return ProviderUnavailable(f"the provider {self._options.name} {why}", metadata=self._facts(model))

    def cut(self, why: str, model: str) -> ProviderStreamCut:
        """Its answer is not whole."""
        text = f"the answer of the model {model} of the provider {self._options.name} is not whole: it {why}"
        return ProviderStreamCut(text, metadata=self._facts(model))

    def error_in_stream(self, error: object, model: str) -> MCPError:
        """It sent an error object in the place of a piece."""
        fault = failures.fault_of(error)
        return self._error(failures.kind_in_stream(fault), fault, model, 200)

    async def _refused(self, response: aiohttp.ClientResponse, model: str, key: int) -> MCPError:
        status = response.status
        try:
            async with asyncio.timeout(ERROR_SECONDS):
                fault = failures.fault_of(await self.whole(response, MAX_ERROR_BODY))
        except (aiohttp.ClientError, OSError):  # its timeout is one too
            fault = Fault()
        kind = failures.kind_of(status, fault)
        wait = failures.retry_after(response.headers)
        if status in failures.KEYS_REFUSED and kind in (Kind.CREDENTIALS, Kind.RATE):
            wait = self._keys.refused(key, wait)
            if len(self._keys) > 1:
                log.warning(
                    "key set aside", provider=self._options.name, key=key + 1, keys=len(self._keys), status=status
                )
        return self._error(kind, fault, model, status, wait)

    def _error(self, kind: Kind, fault: Fault, model: str, status: int, wait: float | None = None) -> MCPError:
        fault = Fault(codes=tuple([self.quote(code) for code in fault.codes]), message=fault.message)
        return failures.error_of(
            kind,
            fault,
            provider=self._options.name,
            model=model,
            status=status,
            said=self.quote(fault.message, failures.MAX_SAID),
            retry_after=wait,
        )

    def _facts(self, model: str) -> dict[str, str]:
        return {"provider": self._options.name, "model": model}

    # -- connections --------------------------------------------------------------------------------------------------

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # how many calls there are at once is for who calls to say
            ssl=self._ssl if self._ssl is not None else True,
            force_close=not self._options.keep_alive,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            # Who reads bounds the rest.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._options.connect_timeout),
            proxy=self._proxy,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
        )

    def _url(self, path: str, model: str) -> URL:
        if self._options.api_version:
            return URL(self._options.url(path, model), encoded=True)
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self._options.url(path, model), encoded=True)
        return url


def _why(error: Exception) -> str:
    """What kept an answer from coming, without addresses."""
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
