"""What the files of a model say of it, read again only when they have changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from mcp_server.providers.local.lazy import LoadFailed

LIST_SECONDS: Final = 0.5
"""How long the list of models waits for the files of one of them."""
MOST_FILES: Final = 1_000
"""How many files of a folder are looked at for changes."""

Content = TypeVar("Content")
Version = tuple[tuple[str, int, int, int], ...]


class ModelFiles(Generic[Content]):
    """The files of one model. They are read in a thread, one reader at a time: a drive that hangs holds nobody else up.

    Args:
        path: the model's file or folder.
        read: reads them; raises :class:`LoadFailed`.
        changed: called when other files than before have been read.
        others: files elsewhere that it reads, too.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], Content],
        changed: Callable[[], None],
        *,
        others: Sequence[Path] = (),
    ) -> None:
        self._path = path
        self._others = tuple(others)
        self._read = read
        self._changed = changed
        self._version: Version | None = None
        self._content: Content | LoadFailed | None = None
        self._reading: asyncio.Task[Content | LoadFailed] | None = None

    async def content(self, *, seconds: float | None = None) -> Content:
        """What they say.

        Args:
            seconds: how long to wait for it.

        Raises:
            LoadFailed: they cannot be used as they are, or were not read in time.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._refresh())
        reading = self._reading
        await asyncio.wait([reading], timeout=seconds)
        if not reading.done():
            raise LoadFailed(f"its files were not read within {seconds} s: {self._path}")
        content = reading.result()
        if isinstance(content, LoadFailed):
            raise LoadFailed(str(content)) from content
        return content

    async def _refresh(self) -> Content | LoadFailed:
        try:
            version, content = await asyncio.to_thread(self._look)
            if version != self._version:
                self._changed()
            self._version, self._content = version, content
            return content
        finally:
            self._reading = None

    def _look(self) -> tuple[Version, Content | LoadFailed]:
        version = _version(self._path) + tuple([(str(file), *_status(file)) for file in self._others])
        if self._content is not None and version == self._version:
            return version, self._content
        try:
            return version, self._read(self._path)
        except LoadFailed as failed:
            return version, failed
        except Exception as error:  # noqa: BLE001  # whatever is odd about a file, it is this model's failure alone
            return version, LoadFailed(f"{self._path} cannot be read: {type(error).__name__}: {error}")


def _version(path: Path) -> Version:
    """What changes when a file is replaced, changed, or becomes readable. The folder is for the parts of a model."""
    try:
        looked_at = [path, path.parent]
        if path.is_dir():
            with os.scandir(path) as entries:
                looked_at += [Path(entry) for entry, _ in zip(entries, range(MOST_FILES), strict=False)]
    except (OSError, ValueError):
        looked_at = [path.parent]
    return tuple([(str(file), *_status(file)) for file in sorted(looked_at)])


def _status(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return 0, 0, 0
    return status.st_ino, status.st_ctime_ns, status.st_size
