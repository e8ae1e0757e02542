"""What a call costs as a history grows, and as more sessions are stored."""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from typing import Final

from tests.bench.calls import CALLERS, MICRO
from tests.bench.curves import Curves
from tests.bench.filling import fill
from tests.bench.rows import compared
from tests.bench.run import Run

ROUNDS: Final = 5
"""Each length or number has its turn in each round, so that what else the machine does meets all of them alike."""
HISTORY_BUDGET: Final = 1.2
STORED_BUDGET: Final = 1.5
STORED_MESSAGES: Final = 2
MEMORY_BUDGET: Final = 1.05
"""Nothing is kept of a session that is not used: this is what processes differ by."""
SEED: Final = 20


async def history(run: Run) -> None:
    """A turn in sessions with short and long histories, all in one store."""
    size, path = run.size, run.folder / "history.db"
    sessions = {length: await fill(path, sessions=size.history_sessions, messages=length) for length in size.histories}
    cpu: defaultdict[int, float] = defaultdict(float)
    async with run.system(path) as (process, load):
        await load.unary(size.history_sessions, [await load.session(20) for _ in range(CALLERS)])
        for _ in range(ROUNDS):
            for length, names in sessions.items():
                before = process.cpu()
                await load.each(load.turn, names, at_once=CALLERS)
                cpu[length] += process.cpu() - before
    path.unlink()
    turns = ROUNDS * size.history_sessions
    costs = [(length, seconds / turns * MICRO) for length, seconds in cpu.items()]
    (shortest, least), *longer = costs
    for length, cost in longer[1:] or longer:
        what = f"durable turn, history of {length:,} messages against {shortest:,}, 20 of them shown"
        run.rows.append(compared(what, least, cost, HISTORY_BUDGET))
    run.curves["benchmark-history"] = Curves(
        title="CPU time of a durable turn, by the length of its session's history",
        x="messages in the history",
        y="µs",
        lines={"turn": costs},
        budgets={"turn": least * HISTORY_BUDGET},
    )


async def sessions(run: Run) -> None:
    """Calls on stores with few and with many sessions, each store with a server of its own."""
    size, random_ = run.size, random.Random(SEED)  # noqa: S311  # which sessions are read is no secret
    cpu: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    paths = {number: run.folder / f"{number}.db" for number in size.stored}
    names = {number: await fill(path, sessions=number, messages=STORED_MESSAGES) for number, path in paths.items()}
    calls = size.stored_calls // ROUNDS
    async with contextlib.AsyncExitStack() as stack:
        servers = {number: await stack.enter_async_context(run.system(path)) for number, path in paths.items()}
        for _ in range(ROUNDS):
            for number, (process, load) in servers.items():
                for what, call in (("create", load.create), ("read", load.read), ("turn", load.turn)):
                    chosen = random_.sample(names[number], calls)
                    before = process.cpu()
                    await load.each(call, chosen, at_once=CALLERS)
                    cpu[what][number] += process.cpu() - before
        memory = {number: process.memory() / 1e6 for number, (process, _) in servers.items()}
    for path in paths.values():
        path.unlink()
    few, some, *_, many = size.stored
    lines = {
        what: [(number, seconds / (calls * ROUNDS) * MICRO) for number, seconds in spent.items()]
        for what, spent in cpu.items()
    }
    for what, line in lines.items():
        row = f"{what}, {many:,} sessions stored against {few:,}"
        run.rows.append(compared(row, line[0][1], line[-1][1], STORED_BUDGET))
    # Against a store that fills the caches, which are of a fixed size.
    row = f"memory, {many:,} sessions stored against {some:,}"
    run.rows.append(compared(row, memory[some], memory[many], MEMORY_BUDGET, "MB"))
    run.curves["benchmark-sessions"] = Curves(
        title="CPU time of a call, by the number of stored sessions",
        x="stored sessions",
        y="µs",
        lines=lines,
        budgets={what: line[0][1] * STORED_BUDGET for what, line in lines.items()},
    )
