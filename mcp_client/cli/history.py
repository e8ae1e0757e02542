"""What the user typed at the prompt, in a file that all runs share and that does not grow without bound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from mcp_client.cli.state import HISTORY_FILE, private_file

MAX_BYTES: Final = 1_000_000
"""A larger file is shortened to the newest entries of half this size."""
MAX_ENTRY_BYTES: Final = 100_000
"""A longer entry, for example a pasted document, is not kept: it would take the place of all others."""

_ENTRY: Final = b"\n# "
"""Begins an entry. Each line of its text begins with a plus sign."""


def history() -> History:
    """The history in the user's state folder, or one in memory if the folder cannot be written."""
    try:
        return _PrivateHistory(private_file(HISTORY_FILE))
    except OSError:
        return InMemoryHistory()


class _PrivateHistory(FileHistory):
    def store_string(self, string: str) -> None:
        if len(string.encode(errors="replace")) > MAX_ENTRY_BYTES:
            return
        with contextlib.suppress(OSError), _locked():  # a full disk does not end a conversation
            super().store_string(string)
            _shorten(private_file(HISTORY_FILE))


def _shorten(path: Path) -> None:
    if path.stat().st_size <= MAX_BYTES:
        return
    entries = path.read_bytes()
    newest = entries[entries.index(_ENTRY, len(entries) - MAX_BYTES // 2) :]
    other = private_file(f"{HISTORY_FILE}.new")
    other.write_bytes(newest)
    other.replace(path)  # a crash leaves one or the other


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let no other process write the history meanwhile: what it appends to a file that is being replaced is lost."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    with private_file(f"{HISTORY_FILE}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
