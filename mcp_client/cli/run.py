"""Runs a command: with a client, standard input, and an exit status."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mcp_client import BadCredentials, InvalidArgument, MCPClient, MCPError, RetryNotice, ServerUnavailable
from mcp_client.cli.connection import API_KEY_VARIABLE, KEY_FILE_VARIABLE, Connection
from mcp_client.cli.failures import FAILED, INTERRUPTED, MISUSED, close_standard_output, fail
from mcp_client.cli.terminal import visible

_Item = TypeVar("_Item")


def run_client(connection: Connection, command: Callable[[MCPClient], Coroutine[Any, Any, None]]) -> None:
    """Run a command with a client. A failure is one line on standard error and an exit status."""

    async def run() -> None:
        async with connection.client(_print_retry if sys.stderr.isatty() else None) as client:
            await command(client)

    with exit_on_error():
        asyncio.run(run())
        sys.stdout.flush()  # raises here if the reader of standard output is gone


def retry_line(notice: RetryNotice) -> str:
    """What to print about a retry; empty for all but the first of a call."""
    if notice.attempt > 2:
        return ""
    trouble = "no connection to the server" if isinstance(notice.error, ServerUnavailable) else notice.error.message
    return f"{trouble}, retrying …"


def _print_retry(notice: RetryNotice) -> None:
    if line := retry_line(notice):
        from rich.console import Console
        from rich.text import Text

        start = "\n" if notice.sequence else ""  # ends the line with the answer so far
        Console(stderr=True).print(Text(f"{start}{visible(line)}", style="dim"))


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Convert errors to one line on standard error and an exit status."""
    try:
        yield
    except ServerUnavailable as error:
        fail(f"{error.message}. Start a server with `mcp-server serve`, or pass its address as --server.", FAILED)
    except BadCredentials as error:
        fail(f"{error.message}. Set {API_KEY_VARIABLE} or {KEY_FILE_VARIABLE}.", FAILED)
    except InvalidArgument as error:
        fail(error.message, MISUSED)
    except MCPError as error:
        fail(str(error), FAILED)
    except (ValueError, TypeError) as error:
        fail(str(error), MISUSED)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        close_standard_output()
        raise SystemExit(FAILED) from None


async def first(limit: int, items: AsyncIterator[_Item]) -> list[_Item]:
    """The first ``limit`` items of a list, or all if there are fewer."""
    found: list[_Item] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found
