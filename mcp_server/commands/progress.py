"""Progress of commands that take long: a bar on a terminal, otherwise a few lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int], None]
"""Is called with what is being done, how much is done, and how much there is to do, or 0 if that is not known."""


@contextmanager
def progress_of(source: str) -> Iterator[Report]:
    """Show the progress of a copy: a bar on a terminal, otherwise a few lines."""
    if not sys.stderr.isatty():
        yield _Lines(source)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(source, total=None, start=False, visible=False)  # no bar for a file that is there

        def show(what: str, done: int, total: int) -> None:
            description = f"{source}: {what}"
            if bar.tasks[0].description != description:
                bar.reset(task, description=description)
            bar.update(task, completed=done, total=total or None, visible=True)

        yield show


class _Lines:
    """Reports progress in lines: one for each step, and one every few seconds during a step."""

    INTERVAL = 5.0

    def __init__(self, source: str) -> None:
        self._source = source
        self._what = ""
        self._next = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what == self._what and now < self._next:
            return
        of = f" {size_text(done)} of" if what == self._what else ""
        self._what, self._next = what, now + self.INTERVAL
        size = f"{of} {size_text(total)}" if total else ""
        print(f"{self._source}: {what}{size}", file=sys.stderr, flush=True)


def size_text(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
