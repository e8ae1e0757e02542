"""Converts large requests and responses off the event loop.

A megabyte of JSON takes a tenth of a second between protobuf and our values, in small steps of Python: a thread does
them, and the event loop gets its turn every few milliseconds. Only one thread at a time does so, since each further one
would take turns too. Long lists are converted in pieces on the event loop itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mcp_server.values import MCPSession

LARGE_BYTES: Final = 64 * 1024
"""The largest request that is converted on the event loop."""
LARGE_VALUES: Final = 2_000
"""The most JSON values of a session that are converted on the event loop."""
PIECE_SECONDS: Final = 0.005
"""How long the event loop converts a list before it does something else."""

T = TypeVar("T")


class Conversions:
    """Runs conversions in a thread, one after the other."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, large: bool, convert: Callable[..., T], *arguments: Any) -> T:
        """What ``convert`` returns, which runs in a thread if it has much to do."""
        if not large:
            return convert(*arguments)
        async with self._lock:
            return await asyncio.to_thread(convert, *arguments)


class Pieces:
    """Cuts a long conversion on the event loop into pieces."""

    __slots__ = ("_begin", "_time")

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._begin = self._time()

    async def step(self) -> None:
        """Let the event loop do something else if the piece has taken long enough."""
        if self._time() - self._begin > PIECE_SECONDS:
            await asyncio.sleep(0)
            self._begin = self._time()


def has_many_values(session: MCPSession) -> bool:
    """Whether the context and the metadata of a session have many JSON values."""
    left = LARGE_VALUES
    waiting: list[Any] = [session.metadata, *[entry.json for entry in session.context.values()]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            left -= len(value)
            if left < 0:
                return True
            waiting += value.values() if isinstance(value, dict) else value
    return False
