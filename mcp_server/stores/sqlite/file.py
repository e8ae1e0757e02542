"""The file itself: locked, created, checked, brought up to date, and opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

import filelock

from mcp_server.errors import ConfigError
from mcp_server.stores.sqlite.schema import APPLICATION_ID, STEPS, TABLES, VERSION

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_SIZE: Final = 100
_CHECKED_SIZE: Final = 64 * 1024 * 1024
"""A file up to this size is read through when it is opened, which takes some 50 ms; a larger one only in part."""
_BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another program that writes to the file, such as a backup or an inspection by hand."""


class FileLost(Exception):
    """The file is no longer where it was opened."""


class DatabaseFile:
    """One file and the lock that keeps other processes from it.

    Args:
        path: where it is or shall be. Its folder is created if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        # Held as long as the file is in use; the system gives it back when the process dies.
        self._lock = filelock.FileLock(f"{self.path}.lock", blocking=False, thread_local=False, mode=0o600)
        self._identity: tuple[int, int] | None = None

    def open(self) -> sqlite3.Connection:
        """Lock the file, make it if there is none, and return a connection that may write.

        Raises:
            ConfigError: the file cannot be used. It is left as it was found.
        """
        with contextlib.ExitStack() as undo:
            try:
                self._take()
                undo.callback(self._lock.release)
                if not self.path.exists():
                    self._create()
                self._check_header()
                connection = self.connect()
                undo.callback(connection.close)
                self._check(connection)
            except OSError as error:
                raise self._unusable(f"{_reason(error)}: {_GIVE_RIGHTS}") from error
            except sqlite3.Error as error:
                raise self._unusable(_explain(error)) from error
            self._identity = self._inode()
            undo.pop_all()
        return connection

    def close(self) -> None:
        """Let other processes have it."""
        self._lock.release()

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """One more connection to the file, to be used by one thread at a time."""
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        # In this mode nothing that was committed is lost even when the machine goes down.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS, where a plain fsync stops at the drive's cache
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def check_present(self) -> None:
        """Make sure that what is written now would not go with a file that nobody finds again.

        Raises:
            FileLost: the file was deleted, moved or replaced since it was opened.
        """
        if self._inode() != self._identity:
            raise FileLost(self.path)

    def _inode(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _take(self) -> None:
        if self.path.is_dir():
            raise self._unusable("it is a folder: name a file, for example one in that folder")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise self._unusable(
                f"another process uses it, and holds {self.path}.lock: stop that process, or name another file"
            ) from error

    def _create(self) -> None:
        """Put a whole file in place at once, so that a file that is found is never one half made."""
        log = Path(f"{self.path}-wal")
        if log.exists() and log.stat().st_size:
            raise self._unusable(
                f"it is missing, but {log} is there and holds a part of it: bring the file back, or move that one away "
                "to begin with an empty store"
            )
        draft = Path(f"{self.path}.new")
        for leftover in (draft, Path(f"{draft}-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _upgrade(connection, 0)
            connection.execute("PRAGMA journal_mode = WAL")
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _check_header(self) -> None:
        """Look at the first bytes before SQLite does, which would take an empty file for a new one."""
        # Opened for writing as well: SQLite would go on with a file that it may only read, and leave a useless log.
        with self.path.open("r+b") as file:
            header = file.read(_HEADER_SIZE)
        if not header:
            raise self._unusable(f"it is empty: {_RESTORE}")
        if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
            raise self._unusable(f"it is no SQLite file, or its beginning is damaged: {_RESTORE}")
        if int.from_bytes(header[68:72]) != APPLICATION_ID:
            raise self._unusable("it is the SQLite file of another program: name another file")

    def _check(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise self._unusable(
                f"it was written by a later release (version {version} of the tables; this one knows {VERSION}): "
                "start that release, or name another file"
            )
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise self._unusable(
                f"its file system does not allow a write-ahead log (mode {mode}): move it to a local disk"
            )
        if version < VERSION:
            _upgrade(connection, version)
        if self.path.stat().st_size <= _CHECKED_SIZE:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self._unusable(f"it is damaged ({found}): {_RESTORE}")
        # What is missing or cannot be written is found out here, and not by the first caller.
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE removed SET session = session WHERE session < 0")
        connection.execute("ROLLBACK")

    def _unusable(self, what: str) -> ConfigError:
        return ConfigError(f"store.path: the file {self.path} cannot be used: {what}")


_RESTORE: Final = "put back a copy of it, or move it away to begin with an empty store"
_GIVE_RIGHTS: Final = "give this user the right to write there, or name another file"

_EXPLANATIONS: Final = {
    sqlite3.SQLITE_READONLY: f"it may only be read: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_PERM: f"it cannot be opened: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_NOTADB: f"it is no SQLite file, or its beginning is damaged: {_RESTORE}",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: {_RESTORE}",
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_BUSY: "another program writes to it: stop that program",
}


def _explain(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return _EXPLANATIONS.get(code & 0xFF) or f"it cannot be read or written ({error}): {_RESTORE}"


def _reason(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Take the tables from ``version`` to the present one: all steps or none."""
    steps = "".join(STEPS[version:])
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
