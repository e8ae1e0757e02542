"""The benchmark still works. What it measures is not looked at: a test run is no place for that."""

from __future__ import annotations

import io

from rich.console import Console

from tests.bench.__main__ import SMALL, run, show


async def test_a_small_run_fills_every_row() -> None:
    """Each has a figure, and the table prints."""
    rows = await run(SMALL)
    assert len(rows) == 10
    assert all(row.system and row.budget for row in rows)
    printed = io.StringIO()
    show(rows, Console(file=printed, width=200))
    assert all(row.what in printed.getvalue() for row in rows)
