"""A server with an API of another vendor, and that vendor's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import aiohttp
import msgspec

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Provider
from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import running


class Client(Protocol):
    """A client of a vendor."""

    async def close(self) -> None:
        """Close its connections."""


AnyClient = TypeVar("AnyClient", bound=Client)


class API(Generic[AnyClient]):
    """A server, and its clients.

    Args:
        server: the server.
        session: sends what the client would not send.
        path: where the API is.
        connect: makes the client of a URL.
        headers: of each request of :meth:`send`.

    Attributes:
        server: the server.
        url: of the API.
        client: the vendor's client. It never retries by itself.
    """

    def __init__(
        self,
        server: UnifiedMCPServer,
        session: aiohttp.ClientSession,
        path: str,
        connect: Callable[[str], AnyClient],
        headers: Mapping[str, str],
    ) -> None:
        self.server = server
        self.url = f"http://{server.web_address}{path}"
        self.client = connect(self.url)
        self._session = session
        self._headers = {"Content-Type": "application/json", **headers}

    async def send(
        self, path: str, body: Any = None, method: str = "POST", **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Send a body, JSON unless it is bytes; return the status, the headers and the body of the response.

        A header that is empty is not sent.
        """
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = self._headers | {key.replace("_", "-"): value for key, value in headers.items()}
        sent = {key: value for key, value in given.items() if value}
        async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
            return response.status, response.headers, await response.text()


@asynccontextmanager
async def starting(
    path: str, connect: Callable[[str], AnyClient], **headers: str
) -> AsyncIterator[Callable[..., Awaitable[API[AnyClient]]]]:
    """A function that starts a server with these providers, of which the first one's model is the default."""
    async with AsyncExitStack() as stack:

        async def start(config: Config | None = None, **providers: Provider) -> API[AnyClient]:
            web = WebSettings(address="127.0.0.1:0")
            config = msgspec.structs.replace(config or plain_config(), web=web)
            server = await stack.enter_async_context(running(config, providers=providers))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            api = API(server, session, path, connect, sent)
            stack.push_async_callback(api.client.close)
            return api

        yield start
