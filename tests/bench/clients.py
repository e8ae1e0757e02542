"""What a client in Python costs by itself, beside gRPC alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from tests.bench.processes import reading
from tests.bench.rows import limited
from tests.bench.run import Run
from tests.bench.upstream import TOKENS

ROUNDS: Final = 4
BUDGET: Final = 60
MICRO: Final = 1e6


async def clients(run: Run) -> None:
    """The blocking client: tokens of the floor, each in a message of its own."""
    spent: dict[str, float] = defaultdict(float)
    streams = max(run.size.rounds, ROUNDS) // ROUNDS * 4
    async with run.floor() as (process, _), reading(process.port) as reader:
        for way in ("grpc", "client"):
            await reader.cpu(way, 1)
        for _ in range(ROUNDS):
            for way in ("grpc", "client"):
                spent[way] += await reader.cpu(way, streams) / streams / TOKENS / ROUNDS * MICRO
    what = "blocking client, a token in a message of its own; the floor is gRPC alone"
    run.rows.append(limited(what, spent["client"], BUDGET, "µs CPU", floor=spent["grpc"]))
