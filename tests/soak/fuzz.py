"""Calls every RPC with random and malformed requests, as several tenants at once, and judges the answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import grpc
from rich.table import Table

from tests.fuzz.calls import HANGS, Caller, wrong
from tests.fuzz.requests import RPCS, Request, make
from tests.fuzz.shrink import smallest
from tests.fuzz.tenants import Party, Tenants, secrets_of
from tests.soak.process import Server, started

WORKERS: Final = 32
"""Calls at a time."""
PAUSE: Final = 0.5
"""Seconds between two canaries, which also make anew what calls have deleted."""
SETTLING: Final = 20.0
"""Seconds that the server has to end what the last calls began."""
WARM: Final = 0.2
"""The share of the time after which the server holds all that it keeps."""


@dataclass(slots=True)
class Fuzzed:
    """What the fuzzing came to."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By path and status."""
    seconds: float = 0
    canaries: int = 0
    before: dict[str, int] = field(default_factory=dict)
    """What the server held when it was warm."""
    after: dict[str, int] = field(default_factory=dict)
    """And at the end."""
    status: int | None = None
    """How the server ended."""
    violations: list[str] = field(default_factory=list)
    """What was wrong, with the smallest call that shows it."""

    @property
    def per_second(self) -> float:
        """Calls per second."""
        return self.calls.total() / self.seconds if self.seconds else 0.0

    def table(self) -> Table:
        """The calls of each method by status, for people."""
        table = Table("method", "calls by status", title="random and malformed calls", title_justify="left")
        for path in sorted({path for path, _ in self.calls}):
            counts = sorted((status, count) for (of, status), count in self.calls.items() if of == path)
            table.add_row(
                path.removeprefix("/").removeprefix("contextprotocol.v1."),
                ", ".join([f"{status} {count:,}" for status, count in counts]),
            )
        return table


async def fuzz(folder: Path, result: Fuzzed, *, seconds: float, seed: int) -> None:
    """Go on for so many seconds, or until something is wrong.

    Args:
        folder: for the database of the server.
        result: where everything is noted.
        seconds: how long.
        seed: of the random choices.
    """
    begin = time.monotonic()
    try:
        await _fuzz(folder, result, begin, seconds, seed)
    finally:
        result.seconds = time.monotonic() - begin


async def _fuzz(folder: Path, result: Fuzzed, begin: float, seconds: float, seed: int) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(started(folder, program="tests.fuzz.server"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        tenants = Tenants(channel, secrets_of(folder))
        await tenants.furnish()
        caller = Caller(channel)
        for end, phase in ((seconds * WARM, "warm"), (seconds, "all")):
            await _phase(caller, tenants, result, end=begin + end, seed=f"{seed}/{phase}")
            held = await _settled(server, result.before)
            result.before, result.after = result.before or held, held
    result.status = server.status


async def _phase(caller: Caller, tenants: Tenants, result: Fuzzed, *, end: float, seed: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(_work(caller, tenants, result, Random(f"{seed}/{number}"), end))  # noqa: S311  # no secret
        group.create_task(_watch(tenants, result, end))


async def _work(caller: Caller, tenants: Tenants, result: Fuzzed, generator: Random, end: float) -> None:
    while time.monotonic() < end and not result.violations:
        party: Party = generator.choice(tenants.parties)
        request = make(generator, tenants.names, party.credentials, *generator.choice(RPCS))
        outcome = await caller.send(request)
        result.calls[request.path, outcome.code] += 1
        if problem := wrong(request, outcome, party.marker(request.path)):
            least = await _least(caller, party, request, problem)
            result.violations.append(f"{problem}: {least}")


async def _least(caller: Caller, party: Party, request: Request, problem: str) -> Request:
    if problem == HANGS or problem.startswith("UNAVAILABLE"):
        return request  # each try would take as long; or the server has crashed, and every call fails now

    async def fails(candidate: Request) -> bool:
        return wrong(candidate, await caller.send(candidate), party.marker(candidate.path)) == problem

    return await smallest(request, fails)


async def _watch(tenants: Tenants, result: Fuzzed, end: float) -> None:
    while time.monotonic() < end and not result.violations:
        await tenants.canary()
        result.canaries += 1
        await asyncio.sleep(min(PAUSE, max(end - time.monotonic(), 0)))


async def _settled(server: Server, before: dict[str, int]) -> dict[str, int]:
    """What the server holds once its turns have ended, or has not let go of in time."""
    end = time.monotonic() + SETTLING
    while True:
        held = await server.held()
        few = not before or held["tasks"] <= before["tasks"]
        if (few and not held["live turns"]) or time.monotonic() > end:
            return held
        await asyncio.sleep(0.5)
