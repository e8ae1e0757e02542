"""Soaks the server in faults, and prints what it came to."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import msgspec
from rich.console import Console
from rich.table import Table

from mcp_server.logs import configure
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import running
from tests.faults.cuts import Ask, Storyteller, client, everywhere, generic, measured, suffer
from tests.faults.kills import Lives
from tests.faults.proxy import Kind
from tests.interop.languages import LANGUAGES
from tests.soak.clients import starts
from tests.soak.fuzz import Fuzzed
from tests.soak.fuzz import fuzz as fuzz_server
from tests.soak.hostile.run import attacked
from tests.soak.load import soak
from tests.soak.mixed import Figures, load
from tests.soak.process import started
from tests.soak.tenants.run import served
from tests.soak.upstreams import soak as soak_upstreams
from tests.wire import Wire

MAY_GROW: Final = {
    "open files and sockets": (1.0, 8),
    "threads": (1.0, 8),
    "objects": (1.1, 5000),
    "memory, kB": (1.1, 8000),
}
"""How much more of something there may be at the end than after the warm-up, as a factor and a number; of all else
nothing. The pools of asyncio and of gRPC start threads up to a limit, when many are needed at once."""
GRACE: Final = 0.3
"""Seconds that turns under the load go on without readers."""
SETTLING: Final = 2.0
"""Seconds that the server is given to let go of what nobody wants any more."""
PROGRAMS: Final = ("go", "node")
"""The languages of the programs that take part in the mixed load, beside both clients in Python."""
BUILT: Final = Path(__file__).parents[2] / ".pytest_cache" / "d" / "interop"
"""Where the tests build these programs as well."""
PARTS: Final = {
    "cuts": "positions",
    "kills": "kills",
    "load": "seconds",
    "mixed": "mixed",
    "upstreams": "upstreams",
    "hostile": "hostile",
    "tenants": "tenants",
    "fuzz": "fuzz",
}
"""The option of each part, by its name."""
KINDS: Final = (Kind.CLOSE, Kind.RESET, Kind.CLOSE, Kind.RESET, Kind.DELAY, Kind.SPLIT, Kind.STALL)


@dataclass(slots=True)
class Result:
    """What a run came to."""

    seed: int
    rows: list[tuple[str, str, bool]] = field(default_factory=list)
    """What was looked at, what was seen, and whether that is good."""
    clients: Mapping[str, Figures] = field(default_factory=dict)
    """What each client of the mixed load came to."""
    fuzzed: Fuzzed = field(default_factory=Fuzzed)
    """What random and malformed calls came to."""
    violations: list[str] = field(default_factory=list)
    """What the server promises and did not do."""

    def add(self, what: str, seen: object, *, good: bool = True) -> None:
        self.rows.append((what, str(seen), good))

    @property
    def good(self) -> bool:
        """Whether all of it is."""
        return not self.violations and not self.fuzzed.violations and all(good for _, _, good in self.rows)

    def show(self, console: Console) -> None:
        """Print all of it."""
        if self.clients:
            console.print(self.mixed())
        if self.fuzzed.calls:
            console.print(self.fuzzed.table())
        console.print(self.table())
        for violation in (*self.violations, *self.fuzzed.violations):
            console.print(f"violated: {violation}", markup=False, highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """For people."""
        table = Table(title=f"--seed {self.seed}", title_justify="left")
        for column in ("what", "seen", ""):
            table.add_column(column)
        for what, seen, good in self.rows:
            table.add_row(what, seen, "[green]good[/]" if good else "[bold red]BAD[/]")
        return table

    def mixed(self) -> Table:
        """The clients of the mixed load, for people."""
        table = Table(title="clients behind connections that are cut", title_justify="left")
        for column in ("", "turns", "connections", "sent again", "went on", "slowest, s", "all, s"):
            table.add_column(column, justify="right" if column else "left")
        for name, one in self.clients.items():
            counts = (one.turns, one.connections, one.sent.again, one.sent.resumed)
            table.add_row(name, *map(str, counts), f"{one.longest:.1f}", f"{one.seconds:.1f}")
        return table


async def run(
    result: Result,
    *,
    seconds: float,
    sessions: int,
    kills: int,
    positions: int,
    mixed: float = 0,
    upstreams: float = 0,
    hostile: float = 0,
    tenants: float = 0,
    fuzz: float = 0,
) -> None:
    """All of it."""
    seed = result.seed
    with tempfile.TemporaryDirectory() as folder:
        if positions:
            await _positions(result, Path(folder), positions, seed)
        if kills:
            await _kills(result, Path(folder), kills, seed)
        if seconds:
            await _load(result, Path(folder), seconds, sessions, seed)
        if mixed:
            await _mixed(result, Path(folder), mixed, seed)
        if upstreams:
            await _upstreams(result, Path(folder), upstreams, sessions, seed)
        if hostile:
            await _hostile(result, Path(folder), hostile, seed)
        if tenants:
            await _tenants(result, Path(folder), tenants, seed)
        if fuzz:
            await _fuzz(result, Path(folder), fuzz, seed)


async def _positions(result: Result, folder: Path, positions: int, seed: int) -> None:
    """A fault at every byte of a turn, again and again."""
    config = msgspec.structs.replace(
        settings(default_model="teller/teller"), store=SQLiteSettings(path=folder / "positions.db")
    )
    provider, turns, connections, number = Storyteller(), 0, 0, 0
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running(config, providers={"teller": provider}))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        wire = Wire(server, channel)
        sizes = await measured(wire, generic)
        while turns < positions:
            callers: list[Ask] = [generic, generic, client]
            ask = callers[number % 3]
            # The client does not give up a connection that says nothing, unless its caller does.
            kinds = KINDS if ask is generic else KINDS[:-1]
            faults = everywhere(sizes, kinds=kinds, seed=seed + number)[: positions - turns]
            tally = await suffer(wire, provider, ask, faults, name=f"round-{number}")
            turns, connections, number = turns + tally.turns, connections + tally.connections, number + 1
    result.add("turns with a fault at a byte: same text, one call, once in the history", turns)
    result.add("connections that they took", connections)


async def _kills(result: Result, folder: Path, kills: int, seed: int) -> None:
    """The process is killed, in two places side by side."""
    sides = [folder / "killed-0", folder / "killed-1"]
    for side in sides:
        side.mkdir()
    lives = [Lives(side, random.Random(f"{seed}/{side.name}")) for side in sides]  # noqa: S311  # no secret
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(life.run((kills + 1) // 2, longest=1.5)) for life in lives]
    tallies = [task.result() for task in tasks]
    for name in ("kills", "interrupted", "replayed", "succeeded"):
        what = {
            "kills": "kills of the process",
            "interrupted": "attempts that they ended, kept as they were journalled, and run again",
            "replayed": "turns that were committed, unknown to their callers, and not run again",
            "succeeded": "turns that succeeded in the end, once",
        }[name]
        result.add(what, sum(getattr(tally, name) for tally in tallies))


async def _load(result: Result, folder: Path, seconds: float, sessions: int, seed: int) -> None:
    """Everything at once, against one process; then a look at what is left."""
    counts: Counter[str] = Counter()
    held: list[dict[str, int]] = []
    async with started(folder, str(GRACE)) as server:
        for phase, share in (("warm", 1 / 3), ("soak", 2 / 3)):
            counts = Counter()
            await soak(
                server.address, phase=phase, sessions=sessions, seconds=seconds * share, seed=seed, counts=counts
            )
            # Graces run out, and connections take a moment to end.
            await asyncio.sleep(SETTLING)
            held.append(await server.held())
        gauges = await server.gauges()
    before, after = held
    result.add("sessions at once", sessions)
    for what, count in sorted(counts.items()):
        result.add(what.replace("_", " "), count, good=count > 0)
    _leaks(result, before, after)
    for what, value in gauges.items():
        result.add(what, value, good=value == 0)
    result.add("exit status of the server", server.status, good=server.status == 0)


def _leaks(result: Result, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """What a server held when it was warm, and at the end, when nobody wants anything any more."""
    _growth(result, before, after)
    for what in ("live turns", "logs of turns", "readers"):
        result.add(f"{what} that are left", after[what], good=after[what] == 0)


def _growth(result: Result, before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Compare what a server held when it was warm with what it holds at the end."""
    for what, count in after.items():
        factor, number = MAY_GROW.get(what, (1.0, 0))
        result.add(
            f"{what}: warm, at the end", f"{before[what]:,} {count:,}", good=count <= before[what] * factor + number
        )


async def _mixed(result: Result, folder: Path, seconds: float, seed: int) -> None:
    """Clients in several languages, each behind connections that are cut."""
    languages = [language for language in LANGUAGES if language.folder in PROGRAMS and not language.missing]
    for language in LANGUAGES:
        if language.folder in PROGRAMS and language.missing:
            result.add(f"{language.title} takes no part: this machine lacks", ", ".join(language.missing))
    clients = starts(languages, BUILT)
    end = time.monotonic() + seconds

    def numbers() -> Iterator[int]:
        return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())

    (folder / "mixed").mkdir()
    came = await load(folder / "mixed", clients, numbers, seed=seed, silent=True)
    result.clients = came.figures
    turns = sum(figures.turns for figures in came.figures.values())
    result.add("turns of clients in several languages: whole, once in the history", turns, good=turns > 0)
    once = sum(count == 1 for count in came.asked.values())
    result.add("of them asked of the model once", once, good=once == turns == len(came.asked))
    for what, count in came.left.items():
        result.add(f"{what} that they left", count, good=count == 0)
    result.add("exit status of their server", came.status, good=came.status == 0)


async def _upstreams(result: Result, folder: Path, seconds: float, sessions: int, seed: int) -> None:
    """Providers that fail and answer oddly, and one that is as strict as the strictest."""
    books = await soak_upstreams(folder, sessions=sessions, seconds=seconds, seed=seed)
    for outcome, count in sorted(books.outcomes.items()):
        result.add(f"turns with providers that misbehave: {outcome}", count)
    for name, count in books.calls.items():
        rows = books.rows[name]
        good = 0 < count <= rows <= count + books.unanswered[name]
        result.add(f"calls that reached the provider {name}, and rows in ledgers", f"{count:,} {rows:,}", good=good)
    sent, kept = books.tokens_sent, books.tokens_kept
    result.add("tokens that the strict provider reported, and in ledgers", f"{sent:,} {kept:,}", good=sent == kept)
    result.add(
        "sessions stuck, conversations refused, circuit breakers opened", len(books.problems), good=not books.problems
    )
    for wrong in books.problems[:5]:
        result.add("of them", wrong, good=False)


async def _hostile(result: Result, folder: Path, seconds: float, seed: int) -> None:
    """One server among attackers, on a machine where everything goes wrong."""
    (folder / "hostile").mkdir()
    report = await attacked(folder / "hostile", seconds=seconds, seed=seed)
    for what, seen, good in report.rows():
        result.add(what, seen, good=good)
    result.violations += report.violations


async def _tenants(result: Result, folder: Path, seconds: float, seed: int) -> None:
    """Three tenants on one server, whose books are compared with those of the provider."""
    (folder / "tenants").mkdir()
    came = await served(folder / "tenants", seconds=seconds, seed=seed)
    for what, count in sorted(came.outcomes.items()):
        result.add(f"clients of three tenants: {what}", count)
    for what, count in sorted(came.disturbances.items()):
        result.add(f"disturbances: {what}", count)
    balance = came.balance
    result.add("turns, and attempts of them, in the ledger to the token", f"{balance.turns:,} {balance.attempts:,}")
    result.add("calls that the provider has counted", f"{balance.calls:,}", good=balance.calls > 0)
    rest = balance.met < balance.turns
    result.add("turns that a kill may have met, whose calls are not compared", f"{balance.met:,}", good=rest)
    result.add("attempts with just the tokens that the provider reported", f"{balance.exact:,}", good=balance.exact > 0)
    result.add("a revoked key's stream went on for at most, s", f"{came.slowest:.2f}")
    _leaks(result, *came.held)
    result.violations += came.problems


async def _fuzz(result: Result, folder: Path, seconds: float, seed: int) -> None:
    """Every RPC, with random and malformed requests of several tenants."""
    (folder / "fuzz").mkdir()
    fuzzed = result.fuzzed
    await fuzz_server(folder / "fuzz", fuzzed, seconds=seconds, seed=seed)
    result.add(
        "random and malformed calls, and how many a second", f"{fuzzed.calls.total():,} {fuzzed.per_second:,.0f}"
    )
    result.add("of them with INTERNAL, without an end, or with text of others", len(fuzzed.violations))
    result.add("proper calls between them, answered", fuzzed.canaries, good=fuzzed.canaries > 0)
    _growth(result, fuzzed.before, fuzzed.after)
    result.add("exit status of the server that was fuzzed", fuzzed.status, good=fuzzed.status == 0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="of load with random faults; 0: none")
    parser.add_argument("--sessions", type=int, default=200, help="under that load at once")
    parser.add_argument("--kills", type=int, default=300, help="of the process under turns; 0: none")
    parser.add_argument("--positions", type=int, default=10_000, help="of faults in the stream of a turn; 0: none")
    parser.add_argument("--mixed", type=float, default=120, metavar="SECONDS", help="of load by mixed clients; 0: none")
    parser.add_argument(
        "--upstreams", type=float, default=600, metavar="SECONDS", help="of providers that misbehave; 0: none"
    )
    parser.add_argument(
        "--hostile",
        type=float,
        default=600,
        metavar="SECONDS",
        help="of attacks, a full disk, a lost log, a wrong clock and kills; 0: none",
    )
    parser.add_argument(
        "--tenants", type=float, default=120, metavar="SECONDS", help="of three tenants and their books; 0: none"
    )
    parser.add_argument(
        "--fuzz", type=float, default=300, metavar="SECONDS", help="of random and malformed calls; 0: none"
    )
    parser.add_argument("--seed", type=int, help="of all that is random; by default another one each time")
    parser.add_argument("--only", choices=PARTS, help="one part, and none of the others")
    arguments = vars(parser.parse_args())
    if only := arguments.pop("only"):
        arguments |= {option: 0 for part, option in PARTS.items() if part != only}
    seed = arguments.pop("seed")
    result = Result(random.randrange(1 << 32) if seed is None else seed)  # noqa: S311  # no secret
    configure(level="error", format="json")
    console = Console()
    console.print(f"--seed {result.seed}")
    try:
        asyncio.run(run(result, **arguments))
    finally:  # what was seen until then, too, if something breaks
        result.show(console)
    sys.exit(not result.good)


if __name__ == "__main__":
    main()
