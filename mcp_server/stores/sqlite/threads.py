"""The threads of the store: one that writes, a few that read."""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Sequence
from typing import Final

import structlog

from mcp_server.errors import StoreUnavailable
from mcp_server.stores.sqlite.changes import Changes
from mcp_server.stores.sqlite.file import DatabaseFile, FileLost, LogDeleted, primary_code
from mcp_server.stores.sqlite.jobs import Job, JobQueue, settle
from mcp_server.stores.sqlite.queries import Queries
from mcp_server.stores.sqlite.rows import DAMAGED

MAX_BATCH: Final = 256
"""How many changes are committed together at most."""

CHECK_SECONDS: Final = 1.0
"""How often an idle store looks whether its files are still there."""

log = structlog.get_logger("contextprotocol.stores")

_LOCKED: Final = "another program has locked the database file of the store"
_NOT_OPENED: Final = "the database file of the store cannot be opened"
_FAILURES: Final = {
    sqlite3.SQLITE_FULL: "the disk of the store is full: free some space and retry",
    sqlite3.SQLITE_IOERR: "the disk of the store failed to read or write",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_READONLY: "the database file of the store is read-only",
    sqlite3.SQLITE_CANTOPEN: _NOT_OPENED,
    sqlite3.SQLITE_PERM: _NOT_OPENED,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_NOMEM: "the store is out of memory",
}


class Writer:
    """The thread that writes. It commits all waiting changes together (group commit).

    Args:
        file: the file, to check that it still exists.
        changes: over the only connection that writes.
        jobs: what to run, with ``changes`` as the argument.
    """

    def __init__(self, file: DatabaseFile, changes: Changes, jobs: JobQueue) -> None:
        self._file = file
        self._changes = changes
        self._jobs = jobs
        self._failing = False

    def close(self) -> None:
        """Close the connection, after :meth:`run` has returned."""
        self._changes.connection.close()

    def run(self) -> None:
        """Commit batch after batch until the queue is closed and empty. Collect garbage in between."""
        jobs, running = self._jobs, True
        while running:
            batch = jobs.get_waiting(MAX_BATCH)
            if not batch and not self._changes.has_garbage:
                try:
                    batch = [jobs.get(CHECK_SECONDS), *jobs.get_waiting(MAX_BATCH - 1)]
                except queue.Empty:
                    self._check_idle()
                    continue
            running = None not in batch
            # Cancelled jobs are skipped: nobody waits for them.
            work = [job for job in batch if job is not None and not job.future.cancelled()]
            if work or running:
                self._commit(work)
            settle(work)
            batch, work = [], []  # results may be large: they are not kept until the next change

    def _commit(self, work: Sequence[Job]) -> None:
        """Run all jobs in one transaction; if that fails, each in one of its own."""
        changes, begun = self._changes, False
        try:
            self._check()
            changes = self._changes
            changes.begin()
            begun = True
            for job in work:
                self._run(job)
            if changes.has_garbage:
                changes.collect_garbage()
            begin = time.perf_counter()
            changes.commit()
            seconds = time.perf_counter() - begin
            self._file.note_size()
        except BaseException as error:  # noqa: BLE001  # it is raised to the callers
            changes.roll_back()
            if begun and len(work) > 1:
                # A single job may be the cause, or too large for the space that is left.
                for job in work:
                    job.result = job.error = None
                    self._commit([job])
                return
            self._fail(work, error)
        else:
            if self._jobs.observer is not None and work:
                self._jobs.observer.batch_committed(len(work), seconds)
            if self._failing:
                self._failing = False
                log.info("store writes again")

    def _check(self) -> None:
        """See that the file is there. A write-ahead log that was deleted is saved and made anew."""
        try:
            self._file.check_present(self._changes.connection)
        except LogDeleted:
            self._changes = Changes(self._file.reopen(self._changes.connection), self._changes.holds)
            log.warning("write-ahead log deleted; its changes are saved", path=str(self._file.path))

    def _check_idle(self) -> None:
        try:
            self._check()
        except (FileLost, sqlite3.Error) as error:
            self._fail([], error)

    def _run(self, job: Job) -> None:
        written = self._changes.connection.total_changes
        try:
            job.result = job.run(self._changes)
        except sqlite3.Error:
            raise
        except BaseException as error:  # what the caller's own code raises concerns that caller only
            if self._changes.connection.total_changes != written:
                raise
            job.error = error

    def _fail(self, work: Sequence[Job], error: BaseException) -> None:
        for job in work:
            job.error = unavailable(error)
        if isinstance(unavailable(error), StoreUnavailable):
            # Logged once until the store writes again, not for every caller.
            if not self._failing:
                self._failing = True
                log.error("store cannot write", exc_info=error)
        elif not work:
            # No caller waits for the garbage collector.
            log.error("store cannot collect garbage", exc_info=error)


class Reader:
    """A thread that reads, over a connection of its own.

    Args:
        file: the file.
        jobs: what to run, with the :class:`Queries` of this thread as the argument.
    """

    def __init__(self, file: DatabaseFile, jobs: JobQueue) -> None:
        self._file = file
        self._jobs = jobs

    def run(self) -> None:
        """Run one job after the other until the queue is closed and empty."""
        queries: Queries | None = None
        generation = 0
        while (job := self._jobs.get()) is not None:
            try:
                with self._file.reading():
                    if queries is None or generation != self._file.generation:
                        queries, generation = Queries(self._file.reader()), self._file.generation
                    job.result = job.run(queries)
            except BaseException as error:  # it is raised to the caller
                job.error = unavailable(error)
                if isinstance(job.error, StoreUnavailable):
                    log.error("store cannot read", exc_info=error)
            settle([job])
            job = None  # its result may be large: it is not kept until the next read
        if queries is not None:
            queries.connection.close()  # also if it was closed before


def unavailable(error: BaseException) -> BaseException:
    """A new :class:`StoreUnavailable` for one caller if the disk or the file failed; any other error as it is."""
    if isinstance(error, FileLost):
        message = "the database file of the store or its write-ahead log was deleted, moved, replaced or cut"
    elif isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        message = _FAILURES.get(primary_code(error), "the database file of the store cannot be read or written")
    else:
        return error
    failure = StoreUnavailable(message, retry_after=1)
    failure.__cause__ = error
    return failure
