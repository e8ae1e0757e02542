"""Prints answers, tables and JSON on standard output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from mcp_client import AttemptSwitched, Delta, TurnStream
from mcp_client.cli.terminal import printable, visible
from mcp_client.values.plain import plain, plain_fields

_UNLIMITED: Final = 10_000
"""More columns than any table needs."""
_LATE_CONTROLS: Final = re.compile(r"[\x7f-\x9f]")
"""The control characters that JSON may contain as they are."""
_OMITTED: Final = ("provider_state",)
"""The fields that JSON leaves out: they mean something to a provider alone."""


async def print_events(stream: TurnStream) -> None:
    """Print each event of an answer as a line of JSON."""
    async with stream:
        async for event in stream.events():
            print_json_line({"event": type(event).__name__, **fields_of(event)})


async def print_stream(stream: TurnStream) -> None:
    """Print an answer while it is generated. If it starts over, a line on standard error says so."""
    started = False
    try:
        async with stream:
            async for event in stream.events():
                if isinstance(event, Delta) and event.text:
                    started = True
                    sys.stdout.write(printable(event.text))
                    sys.stdout.flush()
                elif started and isinstance(event, AttemptSwitched) and event.restarted:
                    started = False
                    print(flush=True)
                    print(printable(f"mcp-client: {_restart_line(event)}", sys.stderr), file=sys.stderr)
    finally:
        if started:  # what follows on standard error gets a line of its own
            print(flush=True)


def _restart_line(event: AttemptSwitched) -> str:
    if event.from_model == event.to_model:
        return "the answer was interrupted and starts over"
    return f"{event.from_model} failed; {event.to_model} starts the answer over"


def local_time(time: datetime | None) -> str:
    """A time in the local time zone; ``never`` for none."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time is not None else "never"


def amount(value: int | Decimal) -> str:
    """A number without an exponent, and without zeros at its end."""
    return f"{Decimal(value).normalize():f}"


def print_json(value: Any) -> None:
    """Print one or several values of the client as JSON."""
    print(_json(value, indent=2))


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a value of the client, as JSON has them."""
    return plain_fields(value, omit=_OMITTED)


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON, at once."""
    print(_json(value, indent=None), flush=True)


def _json(value: Any, *, indent: int | None) -> str:
    text = json.dumps(plain(value, omit=_OMITTED), indent=indent, ensure_ascii=False)
    return _LATE_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table on a terminal, tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for index, title in enumerate(header):
        # The first column has names, which are copied: the others give way, in several lines if they must.
        width = max([len(row[index]) for row in (header, *rows)]) if index == 0 else None
        table.add_column(title, overflow="fold", no_wrap=index == 0, min_width=width)
    for row in rows:
        table.add_row(*[Text(visible(cell)) for cell in row])
    console = Console()
    # A name that is wider than the screen is wrapped by the terminal, which copies it in one piece.
    unlimited = console.options.update(max_width=_UNLIMITED)
    console.width = max(console.width, console.measure(table, options=unlimited).minimum)
    console.print(table)
