"""Ends a command that failed or was used wrongly: one line on standard error, and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from mcp_client.cli.terminal import printable

FAILED: Final = 1
"""The exit status of a command that failed."""
MISUSED: Final = 2
"""The exit status of a command with invalid arguments."""
INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, by the convention of shells."""


def close_standard_output() -> None:
    """Redirect it, so that Python does not fail to flush it at exit when its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, status: int) -> NoReturn:
    """Print a line on standard error and exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        close_standard_output()
    report(message)
    raise SystemExit(status)


def report(message: str) -> None:
    """Print a line about a failure on standard error."""
    print(printable(f"mcp-client: {message}", sys.stderr), file=sys.stderr)


def pairs(texts: Sequence[str] | None, option: str, *, expected: str = "KEY=VALUE") -> dict[str, str]:
    """The keys and values of texts like ``KEY=VALUE``."""
    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            fail(f"{option}: expected {expected}, not {text!r}", MISUSED)
        found[key] = value
    return found
