"""What the client's tests share: a real server with the providers that a test asks for, and a client of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from mcp_client import MCPClient
from mcp_server.interfaces import Provider
from tests.client.beside import running


def is_installed(library: str) -> bool:
    """Whether a library can be imported."""
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # not even the package that contains it
        return False


LIBRARIES = {"test_gevent.py": "gevent", "test_opentelemetry.py": "opentelemetry.instrumentation"}
"""Tests that need a library of others, which is no requirement of the tests."""

collect_ignore = [file for file, library in LIBRARIES.items() if not is_installed(library)]

Connect = Callable[..., Awaitable[MCPClient]]


@pytest.fixture
def log_apart() -> Iterator[None]:
    """The log of a server stays out of the output of a command line in the same process."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Start a server with one provider, by default ``echo``, and return a client of it."""
    async with AsyncExitStack() as stack:

        async def start(provider: Provider | None = None, **options: Any) -> MCPClient:
            providers = {"scripted": provider} if provider is not None else None
            server = await stack.enter_async_context(running(providers=providers))
            return await stack.enter_async_context(MCPClient(server.address, **options))

        yield start


@pytest.fixture
async def client(connect: Connect) -> MCPClient:
    """A client of a server with the provider ``echo``."""
    return await connect()
