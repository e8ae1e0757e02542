"""What a running server does beside answering calls: repeated work, and stopping at a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import structlog

from mcp_server.interfaces import Provider, Store
from mcp_server.middleware.metrics import Metrics
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings import Config
from mcp_server.values import SECOND, Clock

log = structlog.get_logger("contextprotocol.server")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop a server."""
CLOSE_SECONDS: Final = 10.0
"""How long a provider may take to close."""


class Housekeeping:
    """Deletes what has expired, and counts the sessions for the metrics.

    Args:
        sessions: deletes expired sessions, and turns past their retention.
        store: counts the sessions.
        metrics: receives the number of sessions.
        config: the retention of turns, and the interval.
        clock: the time, in nanoseconds since the Unix epoch.
    """

    def __init__(
        self, sessions: MCPSessionManager, store: Store, metrics: Metrics, config: Config, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._metrics = metrics
        self._retention = int(config.turns.retention * SECOND)
        self._interval = config.sessions.sweep_interval
        self._clock = clock

    async def sweep(self) -> None:
        """Delete expired sessions, and turns past their retention."""
        if deleted := await self._sessions.sweep(self._retention):
            log.info("expired sessions deleted", sessions=deleted)

    async def run(self) -> None:
        """Sweep and count sessions once per interval, until cancelled."""
        while True:
            try:
                await self.sweep()
                self._metrics.count_sessions((await self._store.counts(self._clock()))["sessions"])
            except Exception as error:  # logged, and tried again
                log.error("sweep failed", exc_info=error)
            await asyncio.sleep(self._interval)


@contextlib.asynccontextmanager
async def background(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` in a task of that name, and cancel it at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def close_provider(name: str, provider: Provider) -> None:
    """Close a provider. One that raises, or takes too long, does not keep the server from stopping."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await provider.close()
    except Exception as error:
        log.error("provider not closed", provider=name, exc_info=error)


async def stop_signal(on_second: Callable[[], None]) -> None:
    """Return at the first of :data:`STOP_SIGNALS`; each further one calls ``on_second``."""
    loop = asyncio.get_running_loop()
    first = asyncio.Event()

    def on_signal() -> None:
        if first.is_set():
            on_second()
        first.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    await first.wait()
