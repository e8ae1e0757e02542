"""What the costliest requests take: of every method, with every field repeated as often as fits."""

from __future__ import annotations

from typing import Final

from tests.bench.calls import CALLERS
from tests.bench.rows import limited
from tests.bench.run import Run
from tests.costly import METHODS, fields, filled, path_of

REPEATS: Final = 3
"""How often the costliest one is sent again; the least counts, since the first of its kind also fills caches."""


async def costly(run: Run) -> None:
    """The CPU time of the costliest of them, beyond that of receiving so many bytes, and the memory that they leave."""
    size = run.size.costly
    async with run.system(store="memory") as (process, load):
        await load.streams("burst", at_once=CALLERS, rounds=1)

        async def cost(path: str, body: bytes) -> float:
            before = process.cpu()
            await load.refused(path, body)
            return (process.cpu() - before) * 1000

        # Refused by its length, before anything looks into it.
        unread = "/contextprotocol.v1.SessionService/GetSession"
        received = min([await cost(unread, bytes(size)) for _ in range(REPEATS)])
        idle = process.memory()
        worst, body, where = 0.0, b"", ""
        for method in METHODS:
            for field in fields(method.input_type):
                candidate = filled(field, size)
                if (taken := await cost(path_of(method), candidate)) > worst:
                    worst, body, where = taken, candidate, path_of(method)
        worst = min([worst, *[await cost(where, body) for _ in range(REPEATS)]])
        kept = process.memory() - idle
    what = f"costliest request of {size / 2**20:g} MiB, any method and field"
    run.rows.append(limited(what, worst - received, 20, "ms CPU", floor=received))
    run.rows.append(limited("memory that all of them leave", kept / 1e6, (4 * size + 20 * 2**20) / 1e6, "MB"))
