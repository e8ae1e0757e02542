"""Tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence


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
        table.add_column(name, overflow="fold", justify="right" if name == "SIZE" else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
