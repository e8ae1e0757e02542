"""The database file: locks, creates, checks, upgrades and opens it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import filelock

from mcp_server.errors import ConfigError
from mcp_server.stores.sqlite.schema import APPLICATION_ID, STEPS, TABLES, VERSION

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_SIZE: Final = 100
_CHECKED_SIZE: Final = 64 * 1024 * 1024
"""Files up to this size are checked completely when they are opened, which takes some 50 ms; larger ones in part."""
_BUSY_TIMEOUT: Final = 5.0
"""How long to wait for another program that writes to the file, such as a backup, in seconds."""


_LOG_LIMIT: Final = 64 * 1024 * 1024
"""SQLite shortens its write-ahead log to this size when all of it is in the database file."""


class FileLost(Exception):
    """The file was deleted, moved or replaced while it was open, or its write-ahead log was cut."""


class LogDeleted(FileLost):
    """The write-ahead log was deleted, moved or replaced. The open connections still hold it."""


class DatabaseFile:
    """A database file and the lock that keeps other processes out.

    Args:
        path: where it is or will be created. Its folder is created too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        # Held while the file is in use. The system releases it when the process dies.
        self._lock = filelock.FileLock(f"{self.path}.lock", blocking=False, thread_local=False, mode=0o600)
        self._locked_file: int | None = None
        """Locks the file itself: the other lock can be deleted, and has another name for each name of the file."""
        self._identity: tuple[int, int] | None = None
        self._log = Path(f"{self.path}-wal")
        self._log_identity: tuple[int, int] | None = None
        self._log_size = 0
        self._gate = threading.Condition()
        self._active = 0
        self._closed_to_readers = False
        self._readers: list[sqlite3.Connection] = []
        self.generation = 0
        """Changes when all connections have to be made anew."""

    def open(self) -> sqlite3.Connection:
        """Lock the file, create it if it does not exist, upgrade it, and return a connection that may write.

        Raises:
            ConfigError: the file cannot be used. It is unchanged.
        """
        with contextlib.ExitStack() as undo:
            try:
                self._acquire()
                undo.callback(self._lock.release)
                if not self.path.exists():
                    self._create()
                self._check_header()
                self._lock_itself()
                undo.callback(self._unlock_itself)
                connection = self.connect()
                undo.callback(connection.close)
                self._check(connection)
            except OSError as error:
                advice = _FREE_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else _GIVE_RIGHTS
                raise self._unusable(f"{_reason(error)}: {advice}") from error
            except sqlite3.Error as error:
                raise self.unusable(error) from error
            self._identity = _inode(self.path)
            self._note_log()
            undo.pop_all()
        return connection

    @contextlib.contextmanager
    def locked(self) -> Iterator[Path]:
        """Keep other processes from using the file, which need not exist; yields its path.

        Raises:
            ConfigError: another process uses it, or its folder cannot be used.
        """
        try:
            self._acquire()
        except OSError as error:
            raise self._unusable(f"{_reason(error)}: {_GIVE_RIGHTS}") from error
        try:
            if self.path.exists():
                self._lock_itself()
            yield self.path
        finally:
            self.close()

    def close(self) -> None:
        """Release the locks, after all connections have been closed."""
        self._unlock_itself()
        self._lock.release()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """For one read: meanwhile no connection is closed by :meth:`reopen`."""
        with self._gate:
            self._gate.wait_for(lambda: not self._closed_to_readers)
            self._active += 1
        try:
            yield
        finally:
            with self._gate:
                self._active -= 1
                self._gate.notify_all()

    def reader(self) -> sqlite3.Connection:
        """A further connection that only reads, for one thread at a time."""
        connection = self.connect(read_only=True)
        self._readers.append(connection)
        return connection

    def reopen(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Save what is in a write-ahead log that was deleted, and return a connection with a new one.

        Args:
            connection: the one that writes. It is closed, like those of all readers.

        Raises:
            FileLost: the changes in it cannot be saved.
        """
        with self._gate:
            self._closed_to_readers = True
            self._gate.wait_for(lambda: self._active == 0)
        try:
            busy, pages, saved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy or pages != saved:
                raise FileLost(self._log)
            for other in (*self._readers, connection):
                other.close()
            self._readers.clear()
            self.generation += 1
            new = self.connect()
            new.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # makes the log
            self._note_log()
            return new
        finally:
            with self._gate:
                self._closed_to_readers = False
                self._gate.notify_all()

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        """A further connection to the file, for one thread at a time."""
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        with contextlib.ExitStack() as undo:
            undo.callback(connection.close)
            # Committed transactions survive a power failure.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync does not flush the cache of the drive
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            undo.pop_all()
        return connection

    def check_present(self, connection: sqlite3.Connection) -> None:
        """Check that the paths still lead to the open file and its write-ahead log, and that the log is whole: what is
        written to a deleted file is lost.

        Args:
            connection: the one that writes.

        Raises:
            LogDeleted: the log was deleted, moved or replaced.
            FileLost: the same of the file itself, or the log was cut.
        """
        if _inode(self.path) != self._identity:
            raise FileLost(self.path)
        try:
            status = self._log.stat()
        except OSError as error:
            raise LogDeleted(self._log) from error
        if (status.st_dev, status.st_ino) != self._log_identity:
            raise LogDeleted(self._log)
        if status.st_size < min(self._log_size, _LOG_LIMIT):
            # Another program may have done this properly.
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            if pages * size > status.st_size:
                raise FileLost(self._log)

    def note_size(self) -> None:
        """Remember, after a commit, how long the write-ahead log is."""
        with contextlib.suppress(OSError):  # the next check finds out
            self._log_size = self._log.stat().st_size

    def _note_log(self) -> None:
        self._log_identity = _inode(self._log)
        self.note_size()

    def _lock_itself(self) -> None:
        if sys.platform == "win32":
            return  # a file that is in use can be neither deleted nor replaced there
        import fcntl

        file = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise self._unusable("another process uses it: stop that process, or set another path") from error
        except OSError:  # a file system without such locks
            os.close(file)
            return
        self._locked_file = file

    def _unlock_itself(self) -> None:
        # Not before all connections are closed: SQLite's own locks end when any descriptor of the file is closed.
        if self._locked_file is not None:
            os.close(self._locked_file)
            self._locked_file = None

    def _acquire(self) -> None:
        if self.path.is_dir():
            raise self._unusable("it is a folder: set the path of a file, for example one in that folder")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise self._unusable(
                f"another process uses it and holds {self.path}.lock: stop that process, or set another path"
            ) from error

    def _create(self) -> None:
        """Create the file under another name and rename it, so that a crash leaves no incomplete file."""
        if self._log.exists() and self._log.stat().st_size:
            raise self._unusable(
                f"it is missing, but its write-ahead log {self._log} exists and may contain changes: restore the file, "
                "or move the log away to start with an empty store"
            )
        draft = Path(f"{self.path}.new")
        for leftover in (draft, Path(f"{draft}-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written
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
        """Check the first bytes before SQLite does, which takes an empty file for a new database."""
        # Opened for writing too: SQLite would continue with a read-only file and leave a useless log behind.
        with self.path.open("r+b") as file:
            problem = header_problem(file)
        if problem:
            raise self._unusable(f"{problem}: {_ANOTHER if problem == _FOREIGN else _RESTORE}")

    def _check(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise self._unusable(
                f"it was written by a later release (schema version {version}; this release supports up to {VERSION}): "
                "start that release, or set another path"
            )
        mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise self._unusable(
                f"its file system does not support a write-ahead log (journal mode {mode}): move it to a local disk"
            )
        if version < VERSION:
            _upgrade(connection, version)
        if self.path.stat().st_size <= _CHECKED_SIZE:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self._unusable(f"it is damaged ({found}): {_RESTORE}")
        # Missing tables and missing rights are reported here, not by the first call.
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE removed SET session = session WHERE session < 0")
        connection.execute("ROLLBACK")

    def unusable(self, error: sqlite3.Error) -> ConfigError:
        """The error to raise for one that comes while a store is opened."""
        return self._unusable(_explain(error))

    def _unusable(self, what: str) -> ConfigError:
        return ConfigError(f"store.path: the file {self.path} cannot be used: {what}")


def header_problem(file: BinaryIO) -> str:
    """What is wrong with the first bytes of a database file; empty if nothing is."""
    header = file.read(_HEADER_SIZE)
    if not header:
        return "it is empty"
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        return "it is not an SQLite file, or its header is damaged"
    return "" if int.from_bytes(header[68:72]) == APPLICATION_ID else _FOREIGN


_FOREIGN: Final = "it is the SQLite file of another program"
_ANOTHER: Final = "set another path"
_RESTORE: Final = "restore it from a backup, or move it away to start with an empty store"
_GIVE_RIGHTS: Final = "give this user write permission there, or set another path"
_FREE_SPACE: Final = "free some space"

_EXPLANATIONS: Final = {
    sqlite3.SQLITE_READONLY: f"it is read-only: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_PERM: f"it cannot be opened: {_GIVE_RIGHTS}",
    sqlite3.SQLITE_NOTADB: f"it is not an SQLite file, or its header is damaged: {_RESTORE}",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: {_RESTORE}",
    sqlite3.SQLITE_FULL: f"the disk is full: {_FREE_SPACE}",
    sqlite3.SQLITE_BUSY: "another program writes to it: stop that program",
}


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's code of an error without the details; that of damage if it has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    # The index of the write-ahead log is a file as well, and has found no room.
    return sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR_SHMSIZE else code & 0xFF


def _explain(error: sqlite3.Error) -> str:
    return _EXPLANATIONS.get(primary_code(error)) or f"it cannot be read or written ({error}): {_RESTORE}"


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade the tables from ``version`` to the current one: all steps or none."""
    steps = "".join(STEPS[version:])
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")
