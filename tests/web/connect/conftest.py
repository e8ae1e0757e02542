"""A server with an HTTP edge, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_server.testing import EchoProvider, running
from tests.web.connect.client import Client
from tests.web.servers import web_config


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server with the model ``echo/echo``."""
    async with (
        running(web_config(), providers={"echo": EchoProvider()}) as server,
        Client(server.web_address) as client,
    ):
        yield client
