"""Copies of a database file: made while a server uses it, and put in its place again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mcp_server.errors import ConfigError
from mcp_server.stores.sqlite.file import DatabaseFile, header_problem
from mcp_server.stores.sqlite.schema import VERSION

PAGES: Final = 1024
"""How many pages are copied between two reports of progress: 4 MiB."""

Progress = Callable[[int, int], None]
"""Is called with the number of bytes that are copied, and of all."""


def back_up(store: Path, target: Path, *, overwrite: bool, progress: Progress) -> None:
    """Copy the file of a store, as it is at one moment, while a server may be writing to it.

    The copy is one file that only its owner can read. It appears at its place when it is complete and checked.

    Args:
        store: the file of the store.
        target: the file to write.
        overwrite: whether a file that is there is replaced.
        progress: learns how far it is.

    Raises:
        ConfigError: the file of the store, or the target, cannot be used.
    """
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists: choose another name, or pass --overwrite")
    _check_header(store)
    with _explained(target), contextlib.closing(_source(store)) as source, _replacing(target) as draft:
        _copy(source, draft, progress)


def restore(backup: Path, store: Path, *, overwrite: bool, progress: Progress) -> None:
    """Put a copy in the place of a store's file. No server may use that file.

    Args:
        backup: the copy. It stays as it is.
        store: the file of the store.
        overwrite: whether a file that is there is replaced. What it holds is lost.
        progress: learns how far it is.

    Raises:
        ConfigError: the copy cannot be used, a server uses the store, or a file is there. Nothing has changed.
    """
    _check_header(backup)
    with DatabaseFile(store).locked() as target:
        leftovers = [Path(f"{target}{suffix}") for suffix in ("-wal", "-shm")]
        there = [file for file in (target, leftovers[0]) if file.exists()]
        if there and not overwrite:
            raise ConfigError(f"{there[0]} exists: move it away, or pass --overwrite to replace it")
        with _explained(backup), contextlib.closing(_source(backup)) as source, _replacing(target) as draft:
            version: int = source.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ConfigError(
                    f"{backup} was written by a later release (schema version {version}; this release supports up to "
                    f"{VERSION}): restore it with that release"
                )
            _copy(source, draft, progress)
            # They belong to the file that is replaced: with another one they would damage it.
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)


def _check_header(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            problem = header_problem(stream)
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    if problem:
        raise ConfigError(f"{file} cannot be copied: {problem}")


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    """What goes wrong, as an error for people."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename or file}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise ConfigError(f"{file}: the copy failed: {error}") from error


def _source(file: Path) -> sqlite3.Connection:
    """A connection that reads the file as it is now, whatever is written meanwhile."""
    path = file.resolve()
    if os.access(path.parent, os.W_OK):
        parameters = "mode=rw"
    else:
        # Nobody writes to a file without a log beside it, and where no log can be made the file is read without one.
        parameters = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.as_uri()}?{parameters}", uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _copy(source: sqlite3.Connection, draft: Path, progress: Progress) -> None:
    """Copy everything into an empty file, and check the copy."""
    (page_size,) = source.execute("PRAGMA page_size").fetchone()

    def report(status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * page_size, total * page_size)

    with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
        source.backup(copy, pages=PAGES, progress=report)
        # One file without a log beside it; a server that opens it changes that back.
        copy.execute("PRAGMA journal_mode = DELETE")
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"the copy is damaged ({found}), and so is probably what was copied")


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new file that takes the place of ``target`` at the end, and is deleted if that is not reached."""
    target = target.resolve()
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)  # mode 0600
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
        _sync(draft)
        draft.replace(target)
        _sync(target.parent)
    except BaseException:
        for leftover in (draft, Path(f"{draft}-journal")):
            leftover.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
