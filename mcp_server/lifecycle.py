"""What a running server does beside answering calls: repeated work, and stopping at a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from mcp_server.interfaces import Store
from mcp_server.middleware.metrics import Metrics
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.settings import Config, Loaded
from mcp_server.settings.watch import FileWatch
from mcp_server.values import SECOND, Clock

log = structlog.get_logger("contextprotocol.server")

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop a server."""
TRUST_SECONDS: Final = 3600
"""After how long a jump of the clock is believed."""
TOLERANCE_SECONDS: Final = 60
"""How far the clock may be ahead of what has passed since it was last read: clocks are adjusted."""
LOOK_SECONDS: Final = 1.0
"""The interval between two looks at the files of the settings."""


class CautiousClock:
    """The time, for what is deleted by it: a jump forward counts only after it has lasted for :data:`TRUST_SECONDS`.

    A clock that is set wrong for a while must not delete the records by which retries find their turns.

    Args:
        clock: the time, in nanoseconds since the Unix epoch.
        monotonic: the time since any moment, in seconds.
    """

    def __init__(self, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._last, self._at = clock(), monotonic()
        self._jumped: float | None = None

    def __call__(self) -> int:
        """The time, in nanoseconds since the Unix epoch. Never later than by the clock."""
        now, at = self._clock(), self._monotonic()
        expected = self._last + int((at - self._at + TOLERANCE_SECONDS) * SECOND)
        if now <= expected:
            self._jumped = None
        else:
            if self._jumped is None:
                self._jumped = at
                log.warning("clock has jumped forward", seconds=(now - expected) // SECOND)
            if at - self._jumped < TRUST_SECONDS:
                now = expected - TOLERANCE_SECONDS * SECOND
        self._last, self._at = now, at
        return now


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
        self._clock = clock
        self.configure(config)
        self._cautious = CautiousClock(clock)

    def configure(self, config: Config) -> None:
        """Use other settings from the next sweep on."""
        self._retention = int(config.turns.retention * SECOND)
        self._interval = config.sessions.sweep_interval

    async def sweep(self) -> None:
        """Delete expired sessions, and turns past their retention, by the clock."""
        await self._sweep(self._clock())

    async def _sweep(self, now: int) -> None:
        if deleted := await self._sessions.sweep(self._retention, now):
            log.info("expired sessions deleted", sessions=deleted)

    async def run(self) -> None:
        """Sweep and count sessions once per interval, until cancelled."""
        while True:
            try:
                await self._sweep(self._cautious())
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


async def follow_settings(
    loaded: Loaded, read: Callable[[], Loaded], reload: Callable[[Callable[[], Config]], Awaitable[None]]
) -> None:
    """Without end: read the settings again at SIGHUP, and when one of their files has changed.

    Args:
        loaded: the settings at the start.
        read: reads them.
        reload: calls its argument for the settings, and uses them. It logs what it raises.
    """
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    watch = FileWatch(loaded.watched_files)

    def load() -> Config:
        nonlocal loaded
        loaded = read()
        return loaded.config

    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await asked.wait()
        if not await asyncio.to_thread(watch.changed) and not asked.is_set():
            continue
        asked.clear()
        watch.accept()
        files = loaded.watched_files
        with contextlib.suppress(Exception):  # it is in the log, and the next change is tried again
            await reload(load)
        if loaded.watched_files != files:
            watch = FileWatch(loaded.watched_files)
