"""What a call and a token cost beside the floor."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import Final

from tests.bench.load import STALL, Load
from tests.bench.processes import Measured, Watchers, watching
from tests.bench.rows import compared, instructions, limited
from tests.bench.run import Run
from tests.bench.upstream import LATE

CALLERS: Final = 16
PACED_STREAMS: Final = 64
READERS: Final = 32
MICRO: Final = 1e6


async def unary(run: Run) -> None:
    """A chat without a session in the memory store, and a durable one in a session with 20 messages of history.

    Each against the same prompt with nothing kept.
    """
    calls = run.size.calls

    async def per_call(
        process: Measured, load: Load, sessions: list[str], history: int = 0
    ) -> tuple[float, int | None]:
        await load.unary(CALLERS, sessions, history=history)
        async with process.counting() as instructions:
            before = process.cpu()
            await load.unary(calls, sessions, history=history)
            cpu = (process.cpu() - before) / calls * MICRO
        return cpu, instructions.per(calls)

    async with run.floor() as (process, load):
        bare = await per_call(process, load, [""] * CALLERS)
        floor = await per_call(process, load, [""] * CALLERS, history=20)
    async with run.system(store="memory") as (process, load):
        stateless = await per_call(process, load, [""] * CALLERS)
    async with run.system() as (process, load):
        durable = await per_call(process, load, [await load.session(20) for _ in range(CALLERS)])
    for what, least, system, budget in (
        ("unary chat without a session, memory store", bare, stateless, 1.4),
        ("unary chat in a durable session, 20 messages of history", floor, durable, 1.5),
    ):
        counted = instructions(least[1], system[1])
        run.rows.append(compared(what, least[0], system[0], budget, instructions=counted))


async def burst(run: Run) -> None:
    """Tokens that come as fast as they go."""

    async def per_token(process: Measured, load: Load, *, merged: bool = False) -> float:
        await load.streams("burst", at_once=CALLERS, rounds=1, merged=merged)
        before = process.cpu()
        streams = await load.streams("burst", at_once=CALLERS, rounds=run.size.rounds, merged=merged)
        return (process.cpu() - before) / sum(stream.tokens for stream in streams) * MICRO

    async with run.floor() as (process, load):
        single = await per_token(process, load)
        merging = await per_token(process, load, merged=True)
    async with run.system() as (process, load):
        system = await per_token(process, load)
    run.rows.append(compared("streamed token in bursts, against the merging floor", merging, system, 2))
    run.rows.append(compared("streamed token in bursts, against one message a token", single, system, 0.5))


async def paced(run: Run) -> None:
    """64 streams with a token every 20 ms."""

    async def per_token(process: Measured, load: Load) -> float:
        before = process.cpu()
        streams = await load.streams("paced", at_once=PACED_STREAMS, rounds=run.size.paced_rounds, spread=0.02)
        return (process.cpu() - before) / sum(stream.tokens for stream in streams) * MICRO

    async with run.floor() as (process, load):
        floor = await per_token(process, load)
    async with run.system() as (process, load):
        system = await per_token(process, load)
    run.rows.append(compared(f"streamed token, {PACED_STREAMS} streams paced at 20 ms", floor, system, 1.3))


async def first_token(run: Run) -> None:
    """What one caller waits for the first token, beyond the floor."""

    async def median(load: Load, session: str = "") -> float:
        await load.stream("burst", session=session)
        streams = [await load.stream("burst", session=session) for _ in range(run.size.first_tokens)]
        return statistics.median(stream.first for stream in streams) * 1000

    async with run.floor() as (_, load):
        floor = await median(load)
    async with run.system() as (_, load):
        system = await median(load, await load.session(20))
    what = "added time to first token, one caller, in a durable session"
    run.rows.append(limited(what, system - floor, 1.5, "ms", floor=floor))


async def readers(run: Run) -> None:
    """What the caller of a turn waits for the first token that many others get as well, beyond the floor, which answers
    as many callers at once."""

    async def median(wait: Callable[[Watchers], Awaitable[float]], port: int) -> float:
        async with watching(port, READERS) as watchers:
            await wait(watchers)
            waits = [await wait(watchers) for _ in range(run.size.watched)]
        return (statistics.median(waits) - LATE) * 1000

    async with run.floor() as (process, load):
        floor = await median(load.accompanied, process.port)
    async with run.system() as (process, load):
        system = await median(load.watched, process.port)
    what = f"added time to first token, {READERS} more readers of the turn"
    run.rows.append(limited(what, system - floor, 1.5, "ms", floor=floor))


async def held(run: Run) -> None:
    """Paced streams at once without a gap over 200 ms."""
    size = run.size
    async with run.system() as (process, load):
        # What the first calls ever take, such as the cache of the store, is not theirs.
        await load.streams("burst", at_once=CALLERS, rounds=4)
        idle = process.memory()
        streaming = asyncio.create_task(load.streams("paced", at_once=size.held, rounds=2, spread=1.0))
        await asyncio.sleep(1.5)
        open_memory = process.memory()
        streams = await streaming
    stalled = sum(stream.longest_gap > STALL for stream in streams)
    longest = max(stream.longest_gap for stream in streams) * 1000
    run.rows.append(limited(f"longest gap in {size.held} streams paced at 20 ms", longest, STALL * 1000, "ms"))
    run.rows.append(limited("streams that stalled", stalled, 0, "of them"))
    run.rows.append(limited("memory of an open stream", (open_memory - idle) / size.held / 1000, 40, "kB"))
