"""Sites with a chat and their visitors, and what pytest is told of LangChain's own suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Provider
from mcp_server.testing import EchoProvider, running
from tests.client.integrations.sites import SITES, Site

ELSEWHERE = {
    "test_init_from_env": "no setting is read from the environment",
    "test_init_time": "measures",
    "test_stream_time": "measures",
    "test_serdes": "for models that LangChain itself can load",
    "test_audio_inputs": "fetches a file from the internet",
    "test_image_inputs": "fetches a file from the internet",
    "test_pdf_inputs": "fetches a file from the internet",
    "test_image_tool_message": "fetches a file from the internet",
    "test_pdf_tool_message": "fetches a file from the internet",
    "test_anthropic_inputs": "fetches a file from the internet",
}
"""The tests of that suite that do not run here, and why. What they are about is tested in test_langchain.py."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks that the suite has for its own makers."""
    for mark in ("benchmark", "vcr"):
        config.addinivalue_line("markers", f"{mark}: of LangChain's suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here."""
    left_out = [
        item
        for item in items
        if item.path.stem == "test_langchain_standard" and item.name.partition("[")[0] in ELSEWHERE
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


Serve = Callable[..., Awaitable[UnifiedMCPServer]]


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the frameworks."""
    return SITES[request.param]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is left at the end of a test."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def browser(stack: AsyncExitStack) -> Callable[[], Awaitable[aiohttp.ClientSession]]:
    """Somebody with cookies of their own."""

    async def start() -> aiohttp.ClientSession:
        jar = aiohttp.CookieJar(unsafe=True)  # which lets sites without a name have some
        return await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))

    return start


Open = Callable[[], Awaitable[aiohttp.ClientSession]]


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Start a server with a provider."""

    async def start(provider: Provider | None = None, **arguments: Any) -> UnifiedMCPServer:
        providers = {"scripted": provider or EchoProvider()}
        return await stack.enter_async_context(running(providers=providers, **arguments))

    return start


def say(message: str, **more: Any) -> dict[str, Any]:
    """The arguments of a request that says something."""
    return {"json": {"message": message, **more}, "headers": {"Accept": "text/event-stream"}}
