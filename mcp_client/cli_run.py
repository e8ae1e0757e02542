"""How a command of ``mcp-client`` is carried out: with a client, on the standard streams, with an exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mcp_client import AttemptSwitched, MCPClient, RetryNotice, TurnStream

FAILED = 1
"""The exit status of a command that could not do its work."""
MISUSED = 2
"""The exit status of a command whose arguments are wrong."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


async def print_stream(stream: TurnStream) -> None:
    """Print an answer as it comes. What is printed cannot be taken back: a line tells of one that begins anew."""
    from mcp_client import AttemptSwitched, Delta

    begun = False
    try:
        async with stream:
            async for event in stream.events():
                if isinstance(event, Delta) and event.text:
                    begun = True
                    sys.stdout.write(event.text)
                    sys.stdout.flush()
                elif begun and isinstance(event, AttemptSwitched) and event.restarted:
                    begun = False
                    print(flush=True)
                    print(f"mcp-client: {_why_anew(event)}", file=sys.stderr)
    finally:
        if begun:  # what goes wrong is told on a line of its own
            print()


def _why_anew(event: AttemptSwitched) -> str:
    if event.from_model == event.to_model:
        return "the answer was interrupted, and begins anew"
    return f"{event.from_model} has failed, and {event.to_model} begins anew"


def run_client(server: str, answer: Callable[[MCPClient], Coroutine[Any, Any, None]]) -> None:
    """Carry out a command with a client; what goes wrong is one line on standard error and an exit status."""
    from mcp_client import MCPClient

    async def run() -> None:
        async with MCPClient(server, on_retry=_tell_retry if sys.stderr.isatty() else None) as client:
            await answer(client)

    with told():
        asyncio.run(run())
        sys.stdout.flush()  # here a reader that is gone can still be told of


def retry_line(notice: RetryNotice) -> str:
    """What a person is told of a call that is sent again; empty if they know already."""
    from mcp_client import ServerUnavailable

    if notice.attempt > 2:
        return ""
    trouble = "no connection to the server" if isinstance(notice.error, ServerUnavailable) else notice.error.message
    return f"{trouble}, trying again …"


def _tell_retry(notice: RetryNotice) -> None:
    if line := retry_line(notice):
        from rich.console import Console
        from rich.text import Text

        # The answer so far stands on a line that has not ended.
        Console(stderr=True).print(Text(f"{chr(10) * bool(notice.sequence)}{line}", style="dim"))


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong inside is one line on standard error and an exit status."""
    from mcp_client import InvalidArgument, MCPError, ServerUnavailable

    try:
        yield
    except ServerUnavailable as error:
        fail(f"{error.message}. Start a server with `mcp-server serve`, or name another with --server.", FAILED)
    except InvalidArgument as error:
        fail(error.message, MISUSED)
    except MCPError as error:
        fail(error.message, FAILED)
    except (ValueError, TypeError) as error:
        fail(str(error), MISUSED)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _give_up_standard_output()
        raise SystemExit(FAILED) from None


def _give_up_standard_output() -> None:
    """Whoever read it has had enough. Python must not find that out again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def standard_input() -> str:
    """All of it, without the end of its last line, which belongs to the pipe and not to the text."""
    with told():
        try:
            return sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is not UTF-8 text: byte {error.start} is bad") from error


def fail(message: str, status: int) -> NoReturn:
    """End with a line on standard error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_standard_output()
    print(f"mcp-client: {message}", file=sys.stderr)
    raise SystemExit(status)


def pair(text: str, option: str) -> tuple[str, str]:
    """``KEY=VALUE``, taken apart."""
    key, equals, value = text.partition("=")
    if not equals:
        fail(f"{option}: expected KEY=VALUE, not {text!r}", MISUSED)
    return key, value


def local(time: datetime | None) -> str:
    """A time as the clock on the wall has it."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time is not None else "never"


def print_json(value: Any) -> None:
    """Print values as JSON."""

    def plain(item: Any) -> Any:
        if isinstance(item, datetime):
            return item.isoformat()
        if isinstance(item, Decimal):
            return str(item)
        if isinstance(item, bytes):
            import base64

            return base64.b64encode(item).decode()
        return sorted(item)

    print(json.dumps(value, default=plain, indent=2, ensure_ascii=False))


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on a terminal; tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console().print(table)
