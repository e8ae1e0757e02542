"""Tables, facts and JSON on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

NUMBERS: Final = ("SIZE", "PID", "MEMORY", "CALLS", "UNLOADS IN")
"""The columns of numbers."""


def print_json(value: Any) -> None:
    """Print a value as JSON for people and programs."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_facts(facts: Mapping[str, str]) -> None:
    """Print a line for each fact that is not empty."""
    width = max(map(len, facts))
    for name, value in facts.items():
        if value:
            print(f"{name:<{width}}  {value}")


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table for people, or lines with tabs for programs."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in head:
        table.add_column(name, overflow="fold", justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
