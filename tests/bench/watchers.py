"""Many readers, in a process of their own, so that they do not hold up the caller whose wait is measured.

Each line of standard input is the name of a turn, which all of them read. The floor has no turns: for ``merged`` each
of them asks it for an answer of its own. When all have read to the end, a line is printed.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from tests.bench.load import MERGED, Load


async def main(port: int, readers: int) -> None:
    """Read until standard input ends."""
    async with Load(port) as load:
        while turn := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await asyncio.gather(
                *[load.stream("late", merged=True) if turn == MERGED else load.read_turn(turn) for _ in range(readers)]
            )
            print("read", flush=True)  # noqa: T201  # this is how the benchmark learns it


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
