"""Measures the system beside the floor of the same run, and prints a table."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.bench import access, calls, clients, costly, overload, process, providers, scaling, web
from tests.bench.curves import svg
from tests.bench.processes import started
from tests.bench.rows import markdown, show
from tests.bench.run import DEFAULT, FULL, SMALL, Run, Size

PARTS: Final[Mapping[str, Callable[[Run], Awaitable[None]]]] = {
    "unary": calls.unary,
    "burst": calls.burst,
    "paced": calls.paced,
    "first-token": calls.first_token,
    "readers": calls.readers,
    "held": calls.held,
    "web": web.web,
    "providers": providers.providers,
    "clients": clients.clients,
    "start": process.start,
    "history": scaling.history,
    "sessions": scaling.sessions,
    "growth": process.growth,
    "costly": costly.costly,
    "overload": overload.overload,
    "access": access.access,
}
PICTURES: Final = Path(__file__).parents[2] / "docs" / "images"


async def run(size: Size, parts: Sequence[str] = ()) -> Run:
    """Measure these parts, or all."""
    with tempfile.TemporaryDirectory() as folder:
        async with started("tests.bench.upstream") as upstream:
            done = Run(size, upstream, Path(folder))
            chosen = [PARTS[name] for name in parts or PARTS]
            if size.together:
                await asyncio.gather(*[part(done) for part in chosen])
            else:
                for part in chosen:
                    await part(done)
            return done


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="what to measure; by default everything")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_true", help="only see that it works: the figures mean nothing")
    sizes.add_argument("--full", action="store_true", help="a million stored sessions and 100,000 turns: ten minutes")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/benchmark.md")
    parser.add_argument("--pictures", action="store_true", help="draw the curves anew in docs/images")
    arguments = parser.parse_args()
    size = SMALL if arguments.small else FULL if arguments.full else DEFAULT
    done = asyncio.run(run(size, arguments.part))
    if arguments.pictures:
        for name, curves in done.curves.items():
            (PICTURES / f"{name}.svg").write_text(svg(curves))
    console = Console(width=None if os.isatty(1) else 150)
    if arguments.markdown:
        console.out(markdown(done.rows))
    else:
        show(done.rows, console)


if __name__ == "__main__":
    main()
