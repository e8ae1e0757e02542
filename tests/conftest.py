"""What all tests share: a server of the test's own, and a channel to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from mcp_server.app import UnifiedMCPServer
from mcp_server.testing import running
from tests.small_models import NEEDING, minilm, need_transformers, tiny
from tests.wire import Wire

Serve = Callable[..., Awaitable[Wire]]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs PyTorch where that is missing: here and not in a fixture, so that one line tells of all."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if NEEDING & set(getattr(item, "fixturenames", ())) or "huggingface" in parameters:
        need_transformers()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server as :func:`mcp_server.testing.running` does, and return the stubs of a channel to it."""
    async with AsyncExitStack() as stack:

        async def start(config: Any = None, **arguments: Any) -> Wire:
            server: UnifiedMCPServer = await stack.enter_async_context(running(config, **arguments))
            options = [("grpc.max_send_message_length", -1)]
            channel = grpc.aio.insecure_channel(server.address, options=options)
            return Wire(server, await stack.enter_async_context(channel))

        yield start


@pytest.fixture
async def wire(serve: Serve) -> Wire:
    """A server with the provider ``echo``."""
    return await serve()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model in the Hugging Face format."""
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def minilm_model() -> Path:
    """The folder of a small model for embeddings."""
    return minilm.fetch()


@pytest.fixture(scope="session")
def transformers() -> None:
    """For tests that make models of their own: what runs them is there."""
