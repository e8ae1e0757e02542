"""Starts, stops and kills the server under attack, always at one address."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, Final

import psutil

from mcp_server.settings import prepare_grpc

STARTING: Final = 60.0
"""Seconds that a start or a stop may take."""
PORTS: Final = range(20_000, 30_000)
"""Ports that no outgoing connection gets while the server is down."""


class NotStarted(Exception):
    """The server ended before it served; the message is what it wrote."""


class AttackedServer:
    """The server, life after life.

    Args:
        file: of its store.
        keys: the file with the API keys that it accepts.
        log: the file for what it writes to standard error.
        generator: chooses the port.

    Attributes:
        address: of all lives.
        file: of its store.
        starts: how long each start took, in seconds.
    """

    def __init__(self, file: Path, keys: Path, log: Path, generator: random.Random) -> None:
        self.address = f"127.0.0.1:{_free_port(generator)}"
        self.file = file
        self.starts: list[float] = []
        self._keys = keys
        self._log = log
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The present process; ``None`` while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self, shift: float = 0.0) -> None:
        """Return when it serves.

        Args:
            shift: of its wall clock, in seconds.

        Raises:
            NotStarted: it ended instead.
        """
        begin, size = time.monotonic(), self._log.stat().st_size if self._log.exists() else 0
        arguments = (str(self.file), str(self._keys), self.address, str(shift))
        command = (sys.executable, "-m", "tests.soak.hostile.server", *arguments)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, env=quiet_environment()
            )
        if not await self._line():
            await self._process.wait()
            raise NotStarted(self._log.read_bytes()[size:].decode(errors="replace"))
        self.starts.append(time.monotonic() - begin)

    async def set_clock(self, shift: float) -> None:
        """Shift its wall clock by so many seconds from the right time."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(shift)}\n".encode())
        assert await self._line() == {"shift": shift}

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def terminate(self) -> int:
        """Have it stop, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STARTING):
            return await self._process.wait()

    async def _line(self) -> Any:
        """The next line that it prints; empty if it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTING):
            return json.loads(await self._process.stdout.readline() or '""')


class Vitals:
    """What the process of a server takes, and what it has to wait for.

    Attributes:
        idle: its resident memory before anything happened, in bytes.
        highest: the same at its highest since then.
    """

    INTERVAL: Final = 0.1

    def __init__(self, server: AttackedServer) -> None:
        self._server = server
        self.idle = 0
        self.highest = 0
        self._times = [0.0]
        self._waited = [0.0]
        self._threads: dict[int, dict[int, float]] = {}

    def note_idle(self) -> None:
        """This is how much it takes when little happens."""
        self.idle = self.highest = self._memory()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.highest = max(self.highest, self._memory())
            self._times.append(time.monotonic())
            self._waited.append(
                self._waited[-1] + sum(self._more(pid) for pid in (os.getpid(), self._server.pid) if pid)
            )
            await asyncio.sleep(self.INTERVAL)

    def waited(self, begin: float, end: float) -> float:
        """How long the server and its clients had work to do and no processor to do it, in seconds; what else runs on
        the machine is to blame for it.

        Args:
            begin, end: by the monotonic clock.
        """
        return self._at(end) - self._at(begin)

    def _more(self, pid: int) -> float:
        """How long a process has waited since the last look. A call goes through gRPC's threads and the event loop, one
        after the other."""
        before, now = self._threads.get(pid, {}), _waited(pid)
        self._threads[pid] = now
        more = {thread: seconds - before[thread] for thread, seconds in now.items() if thread in before}
        return more.pop(pid, 0.0) + max(more.values(), default=0.0)

    def _at(self, moment: float) -> float:
        """How long until then, evenly between two looks."""
        after = bisect.bisect_left(self._times, moment)
        if after in (0, len(self._times)):
            return self._waited[after - 1 if after else 0]
        (begin, end), (first, last) = self._times[after - 1 : after + 1], self._waited[after - 1 : after + 1]
        return first + (last - first) * (moment - begin) / (end - begin)

    def _memory(self) -> int:
        try:
            return psutil.Process(self._server.pid).memory_info().rss if self._server.pid else 0
        except psutil.NoSuchProcess:
            return 0


def _waited(pid: int) -> dict[int, float]:
    """How long each thread of a process has waited for a processor in all, in seconds; nothing where the system does
    not say. The first thread, which runs the event loop, has the number of the process."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has ended
            found[int(file.parent.name)] = int(file.read_text().split()[1]) / 1e9
    return found


def _free_port(generator: random.Random) -> int:
    while True:
        port = generator.choice(PORTS)
        with socket.socket() as listening:
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def quiet_environment() -> dict[str, str]:
    """That of this process, for one whose gRPC logs nothing."""
    environment = dict(os.environ)
    prepare_grpc(environment)
    return environment
