"""Processes of the benchmark: each ends with its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import signal
import sys
import time
from collections.abc import AsyncIterator

import psutil


class Measured:
    """A process whose CPU time and memory are read from outside.

    Attributes:
        port: what it listens on.
        web_port: what its HTTP edge listens on; 0 without one.
        start_seconds: how long it took from its start to the print of its port.
    """

    def __init__(self, process: psutil.Process, port: int, start_seconds: float, web_port: int = 0) -> None:
        self.port = port
        self.web_port = web_port
        self.start_seconds = start_seconds
        self._process = process

    def cpu(self) -> float:
        """User and system time so far, in seconds."""
        if platform.system() == "Linux":
            # What clock_getcpuclockid(3) gives, which Python lacks: exact, where psutil's figure has steps of 10 ms.
            return time.clock_gettime(~self._process.pid << 3 | 2)
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @contextlib.asynccontextmanager
    async def counting(self) -> AsyncIterator[Instructions]:
        """Count the instructions of the process outside the kernel meanwhile."""
        counted = Instructions()
        try:
            perf = await asyncio.create_subprocess_exec(
                *(
                    "perf",
                    "stat",
                    "--event",
                    "instructions:u",
                    "--field-separator",
                    ",",
                    "--pid",
                    str(self._process.pid),
                ),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError:
            yield counted
            return
        try:
            yield counted
        finally:
            with contextlib.suppress(ProcessLookupError):
                perf.send_signal(signal.SIGINT)
            _, printed = await perf.communicate()
            # The first field of the line of the event; on a machine that does not count, it is no number.
            for line in printed.decode().splitlines():
                count, _, rest = line.partition(",")
                if "instructions" in rest and count.isdigit():
                    counted.count = int(count)

    def memory(self) -> int:
        """Resident memory, in bytes."""
        return int(self._process.memory_info().rss)


class Instructions:
    """How many instructions were counted.

    Attributes:
        count: the number; ``None`` where this machine does not count them, or has no ``perf``.
    """

    def __init__(self) -> None:
        self.count: int | None = None

    def per(self, calls: int) -> int | None:
        """Of one of so many calls."""
        return None if self.count is None else self.count // calls


class Watchers:
    """Readers of turns, in another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._output = process.stdout

    def watch(self, turn: str) -> None:
        """Read this turn."""
        self._input.write(f"{turn}\n".encode())

    async def done(self) -> None:
        """Return when all have read it to its end."""
        if not await self._output.readline():
            raise RuntimeError("the readers failed")


class Asking:
    """Calls to the upstream, from another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._output = process.stdout

    async def cpu(self, model: str, calls: int) -> float:
        """The CPU time of so many calls, in seconds."""
        self._input.write(f"{model} {calls}\n".encode())
        line = await self._output.readline()
        if not line:
            raise RuntimeError("the calls failed")
        return float(line)


@contextlib.asynccontextmanager
async def asking(way: str, port: int) -> AsyncIterator[Asking]:
    """Calls to the upstream on that port, in one of the ways of :mod:`tests.bench.asking`."""
    async with _running("tests.bench.asking", way, str(port)) as process:
        yield Asking(process)


@contextlib.asynccontextmanager
async def reading(port: int) -> AsyncIterator[Asking]:
    """Streams of the server on that port, read in one of the ways of :mod:`tests.bench.reading`."""
    async with _running("tests.bench.reading", str(port)) as process:
        yield Asking(process)


@contextlib.asynccontextmanager
async def watching(port: int, readers: int) -> AsyncIterator[Watchers]:
    """So many readers of each turn of the server on that port."""
    async with _running("tests.bench.watchers", str(port), str(readers)) as process:
        yield Watchers(process)


@contextlib.asynccontextmanager
async def started(module: str, *arguments: str) -> AsyncIterator[Measured]:
    """Run ``python -m module`` and wait for its port, and that of its HTTP edge if it has one."""
    begin = time.perf_counter()
    async with _running(module, *arguments) as process:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} ended before it listened: run `python -m {module} {' '.join(arguments)}`")
        seconds = time.perf_counter() - begin
        ports = [int(port) for port in line.split()]
        yield Measured(psutil.Process(process.pid), ports[0], seconds, *ports[1:])


@contextlib.asynccontextmanager
async def _running(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        await process.wait()
