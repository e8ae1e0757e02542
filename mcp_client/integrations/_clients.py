"""Clients that are created on first use, when a web server has forked and an event loop is running."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mcp_client import MCPClient, MCPSyncClient
from mcp_client._core.addresses import Address


class Clients:
    """The clients of one server: a blocking one, and an asynchronous one for each event loop.

    Args:
        address: of the server, or several.
        options: further arguments of the clients.
    """

    def __init__(self, address: Address | None, options: Mapping[str, Any]) -> None:
        self._address = address
        self._options = dict(options)
        self._lock = threading.Lock()
        self._blocking: MCPSyncClient | None = None
        self._asynchronous: dict[asyncio.AbstractEventLoop, MCPClient] = {}
        self._users: Counter[asyncio.AbstractEventLoop] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return Clients, (self._address, self._options)

    def created_with(self, address: Address | None, options: Mapping[str, Any]) -> bool:
        """Whether the clients were created with these arguments."""
        return (self._address, self._options) == (address, options)

    @property
    def blocking(self) -> MCPSyncClient:
        """The client of all threads of this process. It is closed when the process ends."""
        with self._lock:
            if self._blocking is None:
                self._blocking = MCPSyncClient(self._address, **self._options)
                weakref.finalize(self, _close, self._blocking, os.getpid())
            return self._blocking

    @property
    def asynchronous(self) -> MCPClient:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._asynchronous:
                alive = {other: client for other, client in self._asynchronous.items() if not other.is_closed()}
                self._asynchronous = {**alive, loop: MCPClient(self._address, **self._options)}
            return self._asynchronous[loop]

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Close the client of the running event loop at the end of the block, or of the last of several."""
        loop = asyncio.get_running_loop()
        self._users[loop] += 1
        try:
            yield
        finally:
            self._users[loop] -= 1
            if not self._users[loop]:
                del self._users[loop]
                await self.aclose()

    def close(self) -> None:
        """Close the blocking client; the next use creates another."""
        with self._lock:
            client, self._blocking = self._blocking, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop; the next use creates another."""
        with self._lock:
            client = self._asynchronous.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def _close(client: MCPSyncClient, process: int) -> None:
    if os.getpid() == process:  # not in a forked process
        client.close()
