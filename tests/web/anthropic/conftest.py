"""A server with Anthropic's API, and Anthropic's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import anthropic
import msgspec
import pytest

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Provider
from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, Model

ALL = Model(
    name="able",
    capabilities=Capabilities(chat=True, tools=True, images=True, json_schema=True),
    context_window=100_000,
)
MODEL = "p/able"
HELLO: Any = [{"role": "user", "content": "Hello"}]


def able(*scripts: Any) -> ScriptedProvider:
    """A provider that can do everything."""
    return ScriptedProvider(*scripts, model=ALL)


class API:
    """A server, and its clients.

    Attributes:
        server: the server.
        client: Anthropic's client. It never retries by itself.
    """

    def __init__(self, server: UnifiedMCPServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.url = f"http://{server.web_address}"
        self.client = anthropic.AsyncAnthropic(base_url=self.url, api_key="any", max_retries=0)
        self._session = session

    async def send(
        self, path: str, body: Any = None, method: str = "POST", **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Send a body, JSON unless it is bytes; return the status, the headers and the body of the response."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
        sent |= {key.replace("_", "-"): value for key, value in headers.items()}
        sent = {key: value for key, value in sent.items() if value}
        async with self._session.request(method, self.url + path, data=data, headers=sent) as response:
            return response.status, response.headers, await response.text()


StartAPI = Callable[..., Awaitable[API]]


@pytest.fixture
async def start_api() -> AsyncIterator[StartAPI]:
    """Start a server with these providers, of which the first one's model is the default."""
    async with AsyncExitStack() as stack:

        async def start(config: Config | None = None, **providers: Provider) -> API:
            web = WebSettings(address="127.0.0.1:0")
            config = msgspec.structs.replace(config or plain_config(), web=web)
            server = await stack.enter_async_context(running(config, providers=providers))
            api = API(server, await stack.enter_async_context(aiohttp.ClientSession()))
            stack.push_async_callback(api.client.close)
            return api

        yield start
