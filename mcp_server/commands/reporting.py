"""How a command ends that fails: one message on standard error, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

FAILED = 1
"""The exit status of a command that failed."""
MISUSED = 2
"""The exit status of a command with invalid settings or arguments."""


@contextmanager
def reported() -> Iterator[None]:
    """Report an error that ends a command in one message, with an exit status."""
    from mcp_server.errors import ConfigError, MCPError

    try:
        yield
    except ConfigError as error:
        problems = str(error).splitlines()
        if len(problems) > 1:
            problems.insert(0, f"{len(problems)} problems with the settings")
        fail("\n  ".join(problems), MISUSED)
    except MCPError as error:
        fail(error.message, FAILED)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(message: str, status: int) -> NoReturn:
    """Print the message and end with that status."""
    print(f"mcp-server: {message}", file=sys.stderr)
    sys.exit(status)
