"""A server with OpenAI's API, and OpenAI's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import openai
import pytest

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Provider
from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as plain_config
from mcp_server.testing import running


class API:
    """A server, and its clients.

    Attributes:
        server: the server.
        client: OpenAI's client. It never retries by itself.
    """

    def __init__(self, server: UnifiedMCPServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.url = f"http://{server.web_address}/v1"
        self.client = openai.AsyncOpenAI(base_url=self.url, api_key="any", max_retries=0)
        self._session = session

    async def send(
        self, path: str, body: Any, method: str = "POST", **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """Send a body, JSON unless it is bytes; return the status, the headers and the body of the response."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", **{key.replace("_", "-"): headers[key] for key in headers}}
        async with self._session.request(method, self.url + path, data=data, headers=headers) as response:
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
