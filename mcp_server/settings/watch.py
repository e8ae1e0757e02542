"""Notices that the files of the settings have changed: by looking at them, which works on every file system, and also
where a whole folder is replaced behind a link, as Kubernetes does it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Signature = tuple[tuple[int, ...] | None, ...]


class FileWatch:
    """Looks at files.

    Args:
        files: which. One that is missing is a state like any other.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = tuple(files)
        self._known = self._last = self._look()

    def changed(self) -> bool:
        """Whether the files differ from the known ones, and have stayed the same since the look before: a file that is
        being written is not read half."""
        last, self._last = self._last, self._look()
        return self._last != self._known and self._last == last

    def accept(self) -> None:
        """Take the files of the last look for known."""
        self._known = self._last

    def _look(self) -> Signature:
        return tuple([_signature(file) for file in self._files])


def _signature(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
