"""The table: what was measured, each beside its budget."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Final

import grpc
import msgspec
from rich.console import Console
from rich.table import Table

NONE: Final = "none"
"""The budget of what is no part of the system."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    floor: str
    system: str
    ratio: str
    budget: str
    met: bool
    instructions: str = ""
    """Instructions of a call, of the floor and of the system, where the machine counts them."""


def compared(
    what: str, floor: float, system: float, budget: float, unit: str = "µs CPU", *, instructions: str = ""
) -> Row:
    """A row whose budget is a multiple of the floor's figure, or of the system's own at the small end of a scale."""
    ratio = system / floor
    return Row(
        what=what,
        floor=f"{floor:,.1f} {unit}",
        system=f"{system:,.1f} {unit}",
        ratio=f"{ratio:.2f} ×",
        budget=f"≤ {budget:g} ×",
        met=ratio <= budget,
        instructions=instructions,
    )


def instructions(floor: int | None, system: int | None) -> str:
    """What :class:`Row` shows of the instructions of a call; empty where they were not counted."""
    if floor is None or system is None:
        return ""
    return f"{floor:,} → {system:,}, {system / floor:.2f} ×"


def beside(what: str, floor: float, other: float, unit: str = "µs CPU") -> Row:
    """A row that something else is compared in; it is no part of the system, and has no budget."""
    return Row(
        what=what,
        floor=f"{floor:,.1f} {unit}",
        system=f"{other:,.1f} {unit}",
        ratio=f"{other / floor:.2f} ×",
        budget=NONE,
        met=True,
    )


def limited(what: str, value: float, budget: float, unit: str, *, floor: float | None = None) -> Row:
    """A row whose budget is a figure of its own."""
    return Row(
        what=what,
        floor="" if floor is None else f"{floor:,.2f} {unit}",
        system=f"{value:,.2f} {unit}",
        ratio="",
        budget=f"≤ {budget:g} {unit}",
        met=value <= budget,
    )


def at_least(what: str, value: float, budget: float, unit: str) -> Row:
    """A row whose figure should be high."""
    return Row(
        what=what,
        floor="",
        system=f"{value:,.1f} {unit}",
        ratio="",
        budget=f"≥ {budget:g} {unit}",
        met=value >= budget,
    )


def machine() -> str:
    """Where the figures come from."""
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, grpcio {grpc.__version__}, {platform.machine()}"
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table for a terminal."""
    counted = any(row.instructions for row in rows)
    table = Table("what", "floor", "system", "ratio", "budget", "", title=f"contextprotocol on {machine()}")
    if counted:
        table.add_column("instructions a call")
    for row in rows:
        mark = "" if row.budget == NONE else "[green]met[/]" if row.met else "[red]missed[/]"
        cells = (row.what, row.floor, row.system, row.ratio, row.budget, mark)
        table.add_row(*cells, *([row.instructions] if counted else []))
    console.print(table)


def markdown(rows: Sequence[Row]) -> str:
    """The table for ``docs/benchmark.md``."""
    lines = [f"On {machine()}:", "", "| what | floor | system | ratio | budget |", "|---|---|---|---|---|"]
    for row in rows:
        budget = row.budget if row.met else f"**{row.budget}, missed**"
        lines.append(f"| {row.what} | {row.floor} | {row.system} | {row.ratio} | {budget} |")
    return "\n".join(lines)
