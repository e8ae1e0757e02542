"""What the blocking client's tests share; the twin of tests/client/conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mcp_client import MCPSyncClient
from mcp_server.interfaces import Provider
from tests.client.blocking.beside import LOOP, running

Connect = Callable[..., MCPSyncClient]


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """Where the servers of a test run."""
    with LOOP:
        yield


@pytest.fixture
def connect(loop: None) -> Iterator[Connect]:
    """Start a server with one provider, by default ``echo``, and return a client of it."""
    with ExitStack() as stack:

        def start(provider: Provider | None = None, **options: Any) -> MCPSyncClient:
            providers = {"scripted": provider} if provider is not None else None
            server = stack.enter_context(running(providers=providers))
            return stack.enter_context(MCPSyncClient(server.address, **options))

        yield start


@pytest.fixture
def client(connect: Connect) -> MCPSyncClient:
    """A client of a server with the provider ``echo``."""
    return connect()
