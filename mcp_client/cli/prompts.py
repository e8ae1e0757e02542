"""Reads the input of a command: its argument, standard input, or both."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import Final

from mcp_client.cli.failures import MISUSED, fail
from mcp_client.cli.run import exit_on_error

_STANDARD_INPUT: Final = 0


def message(prompt: str | None) -> str:
    """The prompt and, behind an empty line, the text of a pipe or file; one of them if the other is missing."""
    if prompt is None:
        return _standard_input()
    text = _standard_input() if _is_redirected() else ""
    return f"{prompt}\n\n{text}" if text.strip() else prompt


def texts(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments, and the lines of a pipe or file: one text for each line, and no other character ends a line."""
    text = _standard_input() if not arguments or _is_redirected() else ""
    lines = [line.removesuffix("\r") for line in text.split("\n")] if text else []
    for number, line in enumerate(lines, 1):
        if not line:
            fail(f"standard input: line {number} is empty, and an empty text has no embedding", MISUSED)
    if not arguments and not lines:
        fail("standard input is empty: expected a text in each line", MISUSED)
    return [*arguments, *lines]


def _is_redirected() -> bool:
    """Whether standard input is a pipe or a file, and not a terminal or ``/dev/null``."""
    try:
        mode = os.fstat(_STANDARD_INPUT).st_mode
    except OSError:  # it is closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _standard_input() -> str:
    """The text of standard input without its last line end, which pipes add."""
    with exit_on_error():
        if sys.stdin is None:
            raise ValueError("standard input is closed")
        try:
            return sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is not UTF-8 text: invalid byte at position {error.start}") from error
