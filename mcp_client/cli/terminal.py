"""Text of others on a terminal: their control characters are shown instead of obeyed."""

from __future__ import annotations

import io
import re
import sys
from typing import Final, TextIO

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All control characters but the tab and the line feed."""


def visible(text: str) -> str:
    """The text with its control characters in a form that can be seen, for example ``\\x1b``.

    Models and servers are not trusted: sequences of control characters set the clipboard and the title of a terminal,
    and hide what was printed before.
    """
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def printable(text: str, stream: TextIO | None = None) -> str:
    """The text as it is printed on a stream, by default standard output: visible on a terminal, else unchanged."""
    stream = sys.stdout if stream is None else stream
    return visible(text) if stream.isatty() else text


def replace_unknown_characters() -> None:
    """Print ``?`` for characters that the encoding of standard output lacks, unless the user has chosen otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
