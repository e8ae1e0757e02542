"""A server with Anthropic's API, and Anthropic's own client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import pytest

from mcp_server.testing import ScriptedProvider
from mcp_server.values import Capabilities, Model
from tests.web import apis

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


API = apis.API[anthropic.AsyncAnthropic]
"""A server, and its clients."""
StartAPI = Callable[..., Awaitable[API]]


@pytest.fixture
async def start_api() -> AsyncIterator[StartAPI]:
    """Start a server with these providers, of which the first one's model is the default."""

    def connect(url: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=url, api_key="any", max_retries=0)

    async with apis.starting("", connect, anthropic_version="2023-06-01") as start:
        yield start
