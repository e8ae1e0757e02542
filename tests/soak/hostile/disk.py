"""A disk that can be filled and freed."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

_PIECE: Final = 1 << 20


class Disk(Protocol):
    """The disk that the store of a server is on.

    Attributes:
        advice: what callers read of the server when it is full.
    """

    advice: str

    def full(self, pid: int | None, /) -> AbstractContextManager[None]:
        """A context in which it has no room; ``pid``: the process that is to see that."""


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[Disk]:
    """Mount a disk of ``size`` MiB at ``folder``, or without the right to mount one limit the size of files."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield _Limited(folder)
        return
    try:
        yield _Mounted(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


class _Mounted:
    """Another file takes all the room."""

    advice = "free some space"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def full(self, pid: int | None, /) -> Iterator[None]:
        filler = self._folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file:
                for piece in (_PIECE, 4096):
                    with contextlib.suppress(OSError):
                        while True:
                            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
            yield
        finally:
            filler.unlink()


class _Limited:
    """No file of the process may grow beyond the largest."""

    advice = "the disk of the store failed"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def full(self, pid: int | None, /) -> Iterator[None]:
        limit: Callable[..., tuple[int, int]] = resource.prlimit
        size = max(path.stat().st_size for path in self._folder.iterdir())
        before = limit(pid or 0, resource.RLIMIT_FSIZE)
        limit(pid or 0, resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # it may have been killed meanwhile
                limit(pid or 0, resource.RLIMIT_FSIZE, before)
