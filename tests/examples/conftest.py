"""Servers that are killed and replaced, for programs that must not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.killable import Killable


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """The way to the server, of which there is one after another."""
    async with Proxy("127.0.0.1:1", lambda _: ()) as proxy:
        yield proxy


@asynccontextmanager
async def serving(folder: Path, proxy: Proxy) -> AsyncIterator[Killable]:
    """A server with the store in that folder, behind the proxy."""
    async with Killable(folder, default_model="words/words") as server:
        proxy.switch(server.address)
        yield server
