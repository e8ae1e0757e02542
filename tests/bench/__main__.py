"""Measures the system beside the floor of the same run, and prints a table."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.load import STALL, Load
from tests.bench.processes import Measured, started

MICRO = 1e6


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much work is done."""

    calls: int
    """Unary chats in each measurement."""
    rounds: int
    """Rounds of burst streams."""
    paced_rounds: int
    """Rounds of paced streams."""
    first_tokens: int
    """Streams, one after the other, for the time to first token."""
    held: int
    """Paced streams at once that must not stall."""
    starts: int
    """Starts of the server."""


FULL = Size(calls=6400, rounds=40, paced_rounds=5, first_tokens=300, held=200, starts=5)
SMALL = Size(calls=64, rounds=1, paced_rounds=1, first_tokens=5, held=8, starts=1)
CALLERS = 16
PACED_STREAMS = 64


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    floor: str
    system: str
    ratio: str
    budget: str
    met: bool


class Bench:
    """One run.

    Args:
        size: how much work to do.
        upstream: the mock provider.
        folder: where the store's file goes.
    """

    def __init__(self, size: Size, upstream: Measured, folder: Path) -> None:
        self.size = size
        self.rows: list[Row] = []
        self._upstream = upstream
        self._folder = folder

    @contextlib.asynccontextmanager
    async def floor(self) -> AsyncIterator[tuple[Measured, Load]]:
        """A fresh floor and a load for it."""
        async with started("tests.bench.floor", str(self._upstream.port)) as process:
            load = Load(process.port)
            yield process, load
            await load.close()

    @contextlib.asynccontextmanager
    async def system(self) -> AsyncIterator[tuple[Measured, Load]]:
        """A fresh system, on a file of its own, and a load for it."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = str(Path(folder) / "sessions.db")
            async with started("tests.bench.system", str(self._upstream.port), path) as process:
                load = Load(process.port)
                yield process, load
                await load.close()

    def compare(self, what: str, floor: float, system: float, budget: float, unit: str = "µs CPU") -> None:
        """A row whose budget is a multiple of the floor."""
        ratio = system / floor
        self.rows.append(
            Row(
                what=what,
                floor=f"{floor:.1f} {unit}",
                system=f"{system:.1f} {unit}",
                ratio=f"{ratio:.2f} x",
                budget=f"≤ {budget:g} x",
                met=ratio <= budget,
            )
        )

    def limit(self, what: str, value: float, budget: float, unit: str, *, floor: float | None = None) -> None:
        """A row whose budget is a figure of its own."""
        self.rows.append(
            Row(
                what=what,
                floor="" if floor is None else f"{floor:.2f} {unit}",
                system=f"{value:.2f} {unit}",
                ratio="",
                budget=f"≤ {budget:g} {unit}",
                met=value <= budget,
            )
        )

    async def unary(self) -> None:
        """A chat in a session, durable, with 20 messages of history, against the same prompt with nothing kept."""
        async with self.floor() as (process, load):
            await load.unary(CALLERS, [""] * CALLERS, history=20)
            before = process.cpu()
            await load.unary(self.size.calls, [""] * CALLERS, history=20)
            floor = (process.cpu() - before) / self.size.calls * MICRO
        async with self.system() as (process, load):
            sessions = [await load.session(f"bench-{number}", 20) for number in range(CALLERS)]
            await load.unary(CALLERS, sessions)
            before = process.cpu()
            await load.unary(self.size.calls, sessions)
            system = (process.cpu() - before) / self.size.calls * MICRO
        self.compare("unary chat in a durable session, 20 messages of history", floor, system, 1.5)

    async def burst(self) -> None:
        """Tokens that come as fast as they go."""

        async def per_token(process: Measured, load: Load, *, merged: bool = False) -> float:
            await load.streams("burst", at_once=CALLERS, rounds=1, merged=merged)
            before = process.cpu()
            streams = await load.streams("burst", at_once=CALLERS, rounds=self.size.rounds, merged=merged)
            return (process.cpu() - before) / sum(stream.tokens for stream in streams) * MICRO

        async with self.floor() as (process, load):
            single = await per_token(process, load)
            merging = await per_token(process, load, merged=True)
        async with self.system() as (process, load):
            system = await per_token(process, load)
        self.compare("streamed token in bursts, against the merging floor", merging, system, 2)
        self.compare("streamed token in bursts, against one message a token", single, system, 0.5)

    async def paced(self) -> None:
        """64 streams with a token every 20 ms."""

        async def per_token(process: Measured, load: Load) -> float:
            before = process.cpu()
            streams = await load.streams("paced", at_once=PACED_STREAMS, rounds=self.size.paced_rounds, spread=0.02)
            return (process.cpu() - before) / sum(stream.tokens for stream in streams) * MICRO

        async with self.floor() as (process, load):
            floor = await per_token(process, load)
        async with self.system() as (process, load):
            system = await per_token(process, load)
        self.compare(f"streamed token, {PACED_STREAMS} streams paced at 20 ms", floor, system, 1.3)

    async def first_token(self) -> None:
        """What one caller waits for the first token, beyond the floor."""

        async def median(load: Load, session: str = "") -> float:
            await load.stream("burst", session=session)
            streams = [await load.stream("burst", session=session) for _ in range(self.size.first_tokens)]
            return statistics.median(stream.first for stream in streams) * 1000

        async with self.floor() as (_, load):
            floor = await median(load)
        async with self.system() as (_, load):
            system = await median(load, await load.session("bench", 20))
        self.limit(
            "added time to first token, one caller, in a durable session", system - floor, 1.5, "ms", floor=floor
        )

    async def held(self) -> None:
        """Paced streams at once without a gap over 200 ms."""
        async with self.system() as (process, load):
            # What the first calls ever take, such as the cache of the store, is not theirs.
            await load.streams("burst", at_once=CALLERS, rounds=4)
            idle = process.memory()
            running = asyncio.create_task(load.streams("paced", at_once=self.size.held, rounds=2, spread=1.0))
            await asyncio.sleep(1.5)
            open_memory = process.memory()
            streams = await running
        stalled = sum(stream.longest_gap > STALL for stream in streams)
        longest = max(stream.longest_gap for stream in streams) * 1000
        self.limit(f"longest gap in {self.size.held} streams paced at 20 ms", longest, STALL * 1000, "ms")
        self.limit("streams that stalled", stalled, 0, "of them")
        self.limit("memory of an open stream", (open_memory - idle) / self.size.held / 1000, 40, "kB")

    async def start(self) -> None:
        """From the start of the process to SERVING, and what it then holds."""
        seconds, memory = [], []
        for _ in range(self.size.starts):
            async with self.system() as (process, _load):
                seconds.append(process.start_seconds)
                memory.append(process.memory())
        self.limit("start to SERVING", statistics.median(seconds), 0.7, "s")
        self.limit("memory of an idle server", statistics.median(memory) / 1e6, 80, "MB")


async def run(size: Size) -> list[Row]:
    """All rows."""
    with tempfile.TemporaryDirectory() as folder:
        async with started("tests.bench.upstream") as upstream:
            bench = Bench(size, upstream, Path(folder))
            for part in (bench.unary, bench.burst, bench.paced, bench.first_token, bench.held, bench.start):
                await part()
            return bench.rows


def show(rows: list[Row], console: Console) -> None:
    """Print the table."""
    machine = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, grpcio {grpc.__version__}, {platform.machine()}"
    )
    table = Table("what", "floor", "system", "ratio", "budget", "", title=f"contextprotocol on {machine}")
    for row in rows:
        mark = "[green]met[/]" if row.met else "[red]missed[/]"
        table.add_row(row.what, row.floor, row.system, row.ratio, row.budget, mark)
    console.print(table)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--small", action="store_true", help="only see that it works: the figures mean nothing")
    arguments = parser.parse_args()
    show(asyncio.run(run(SMALL if arguments.small else FULL)), Console(width=None if os.isatty(1) else 150))


if __name__ == "__main__":
    main()
