"""What the process takes: its start, and its memory at rest and after much work."""

from __future__ import annotations

import asyncio
import statistics

from tests.bench.calls import CALLERS
from tests.bench.rows import compared, limited
from tests.bench.run import Run


async def start(run: Run) -> None:
    """From the start of the process to SERVING, and what it then holds."""
    seconds, memory = [], []
    for _ in range(run.size.starts):
        async with run.system() as (process, _load):
            seconds.append(process.start_seconds)
            memory.append(process.memory())
    run.rows.append(limited("start to SERVING", statistics.median(seconds), 0.7, "s"))
    run.rows.append(limited("memory of an idle server", statistics.median(memory) / 1e6, 80, "MB"))


async def growth(run: Run) -> None:
    """Memory after much work, a tenth of it cancelled, against less of the same."""
    first, last = run.size.growth
    done, memory = 0, []
    async with run.system() as (process, load):
        chatting = [await load.session(20) for _ in range(CALLERS)]
        leaving = [await load.session(20) for _ in range(CALLERS)]
        for turns in run.size.growth:
            more = turns - done
            left = [leaving[number % len(leaving)] for number in range(more // 10)]
            await asyncio.gather(load.unary(more, chatting), load.each(load.cancelled, left, at_once=4))
            memory.append(process.memory() / 1e6)
            done = turns
    what = f"memory after {last:,} turns and {last // 10:,} cancelled streams, against {first:,}"
    run.rows.append(compared(what, memory[0], memory[1], 1.05, "MB"))
