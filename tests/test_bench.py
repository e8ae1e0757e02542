"""The benchmark still works. What it measures is not looked at: a test run is no place for that."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from rich.console import Console

from tests.bench.__main__ import run
from tests.bench.curves import svg
from tests.bench.rows import markdown, show
from tests.bench.run import SMALL


async def test_a_small_run_fills_every_row_and_picture() -> None:
    """Each has a figure, the tables print, and the pictures are well-formed."""
    done = await run(SMALL)
    assert len(done.rows) == 48
    assert all(row.system and row.budget for row in done.rows)
    printed = io.StringIO()
    show(done.rows, Console(file=printed, width=200))
    for text in (printed.getvalue(), markdown(done.rows)):
        assert all(row.what in text for row in done.rows)
    assert set(done.curves) == {"benchmark-history", "benchmark-sessions"}
    for curves in done.curves.values():
        drawn = [element.text for element in ET.fromstring(svg(curves)).iter() if element.text]  # noqa: S314  # ours
        assert curves.title in drawn
        assert set(curves.lines) <= set(drawn)
