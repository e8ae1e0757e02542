"""What goes wrong on the machine of the server, one thing at a time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from mcp_client import MCPClient, MCPError, ServerUnavailable, StoreUnavailable
from tests.soak.hostile.disk import Disk
from tests.soak.hostile.outages import ANSWER, RECONNECTING, WRITING_AGAIN, Outages
from tests.soak.hostile.process import AttackedServer, NotStarted

NOTICED: Final = 2.0
"""Seconds after which a deleted write-ahead log is replaced: the server looks once a second."""
DAY: Final = 86_400.0
SHIFTS: Final = (-30 * DAY, -3600, 3600, 2 * DAY, 400 * DAY)
"""How wrong the clock may be set, in seconds: also by more than turns are kept."""
LONG: Final = "x" * 60_000
"""A message that needs room on the disk, and is not so large that attackers can keep it out."""
LONG_MESSAGES: Final = 2000
"""How many of them no full disk has room for."""


class Disturbances:
    """All of them.

    Args:
        server: suffers from them.
        disk: of its store.
        outages: those that they cause are noted there.
        client: of the contract, which tries nothing again.
        generator: decides.
        longest: seconds that a full disk and a wrong clock last at most.

    Attributes:
        counts: how often each happened.
        problems: what was wrong.
    """

    def __init__(
        self,
        server: AttackedServer,
        disk: Disk,
        outages: Outages,
        client: MCPClient,
        generator: random.Random,
        *,
        longest: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._server = server
        self._disk = disk
        self._outages = outages
        self._client = client
        self._random = generator
        self._longest = longest

    async def run(self, stopped: asyncio.Event) -> None:
        """Cause one after the other, with some time in between in which all is well, until stopped."""
        causes: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "kill -9": self._kill,
            "SIGTERM": self._terminate,
            "full disk": self._fill_disk,
            "kill -9 on a full disk": self._kill_on_full_disk,
            "-wal removed": self._remove_log,
            "clock set": self._set_clock,
        }
        while True:
            for name in self._random.sample(list(causes), len(causes)):
                await self._calm()
                if stopped.is_set():
                    return
                self.counts[name] += 1
                try:
                    await causes[name](name)
                except MCPError as error:
                    self.problems.append(f"{name}: {type(error).__name__}: {error}")

    async def connected(self) -> None:
        """Return when all clients have recovered from the last outage, this one included."""
        await self._outages.recovered()
        try:
            await self._patiently(self._client.health)
        except MCPError as error:
            self.problems.append(f"no answer after an outage: {type(error).__name__}: {error}")

    async def _calm(self) -> None:
        """A time that is long enough for all clients to recover, and some more."""
        await self.connected()
        await asyncio.sleep(self._random.uniform(0.2, self._longest))

    async def _hold(self) -> None:
        await asyncio.sleep(self._random.uniform(0.5, self._longest))

    async def _kill(self, name: str) -> None:
        with self._outages.outage(name, RECONNECTING):
            await self._server.kill()
            await self._server.start()

    async def _terminate(self, name: str) -> None:
        with self._outages.outage(name, RECONNECTING):
            if status := await self._server.terminate():
                self.problems.append(f"SIGTERM: exit status {status}")
            await self._server.start()

    async def _fill_disk(self, name: str) -> None:
        """Who needs room is refused with advice, who reads is not."""
        session = f"full-{self.counts[name]}"
        await self._patiently(lambda: self._client.create_session(session, request_id=session))
        with self._outages.outage(name, WRITING_AGAIN), self._disk.full(self._server.pid):
            end = time.monotonic() + self._random.uniform(0.5, self._longest)
            await self._refused(session)
            begin = time.monotonic()
            await self._patiently(lambda: self._client.get_session(session))
            if (seconds := time.monotonic() - begin) > ANSWER:
                self.problems.append(f"full disk: reading took {seconds:.1f} s")
            await asyncio.sleep(end - time.monotonic())
        await self._patiently(lambda: self._client.delete_session(session))

    async def _refused(self, session: str) -> None:
        """Write until the disk is full. The log of the store may have room for some time."""
        for _ in range(LONG_MESSAGES):
            try:
                await self._patiently(lambda: self._client.append_messages(session, LONG))
            except StoreUnavailable as error:
                if self._disk.advice not in error.message or error.retry_after is None:
                    self.problems.append(f"full disk: no advice: {error.message}, {error.retry_after}")
                return
        self.problems.append(f"full disk: {LONG_MESSAGES * len(LONG):,} bytes were written to it")

    async def _patiently(self, call: Callable[[], Awaitable[object]]) -> None:
        """Repeat a call whose connection is lost, or that comes before the store writes again after an outage."""
        end = time.monotonic() + RECONNECTING
        while True:
            try:
                await call()
            except (ServerUnavailable, StoreUnavailable) as error:
                if time.monotonic() > end or (isinstance(error, StoreUnavailable) and not self._outages.steady):
                    raise
            else:
                return
            await asyncio.sleep(0.1)

    async def _kill_on_full_disk(self, name: str) -> None:
        """A server that cannot start says why."""
        with self._outages.outage(name, RECONNECTING):
            with self._disk.full(self._server.pid):
                await self._server.kill()
                started = True
                try:
                    await self._server.start()
                except NotStarted as error:
                    started = False
                    if "free some space" not in str(error):
                        self.problems.append(f"{name}: no advice: {error}")
            if not started:
                await self._server.start()

    async def _remove_log(self, name: str) -> None:
        """A kill must not come before the server has noticed; nothing else is different for anybody."""
        if not await asyncio.to_thread(_replaced, Path(f"{self._server.file}-wal")):
            self.problems.append(f"{name}: not noticed within {NOTICED} s")

    async def _set_clock(self, name: str) -> None:
        """Nobody notices, and retries find their turns."""
        await self._server.set_clock(self._random.choice(SHIFTS))
        await self._hold()
        await self._server.set_clock(0.0)


def _replaced(log: Path) -> bool:
    """Remove a file; whether there is another one soon."""
    log.unlink()
    end = time.monotonic() + NOTICED
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return log.exists()
