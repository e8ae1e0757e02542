"""The threads that work on the file: one that writes, a few that read. Callers await them from any event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import structlog

from mcp_server.errors import StoreUnavailable
from mcp_server.stores.sqlite.file import DatabaseFile, FileLost
from mcp_server.stores.sqlite.rows import DAMAGED
from mcp_server.stores.sqlite.tables import Tables
from mcp_server.stores.sqlite.writable import WritableTables

T = TypeVar("T")

_CLOSED: Final = "the store is closed"

MAX_BATCH: Final = 256
"""The most changes that are committed together."""

log = structlog.get_logger("contextprotocol.stores")

_FAILURES: Final = {
    sqlite3.SQLITE_FULL: "the disk of the store is full: make room and send the call again",
    sqlite3.SQLITE_IOERR: "the disk of the store could not be read or written",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_READONLY: "the file of the store may only be read",
    sqlite3.SQLITE_CANTOPEN: "the file of the store cannot be opened",
    sqlite3.SQLITE_PERM: "the file of the store cannot be opened",
    sqlite3.SQLITE_BUSY: "another program holds the file of the store",
    sqlite3.SQLITE_LOCKED: "another program holds the file of the store",
    sqlite3.SQLITE_PROTOCOL: "another program holds the file of the store",
    sqlite3.SQLITE_NOMEM: "the store ran out of memory",
}


class Job:
    """One piece of work and who waits for it."""

    __slots__ = ("error", "future", "loop", "result", "run")

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.run = run
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell the one who waits; on the event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Jobs:
    """A queue of jobs that can be closed: what was let in before is done, and nothing after."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._fresh: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._closed = True
        self._gate = threading.Lock()

    def open(self) -> None:
        """Let jobs in."""
        self._closed = False

    async def do(self, run: Callable[[Any], T]) -> T:
        """Have it run, and wait for what it gives or raises."""
        job = Job(run)
        if self._closed:
            raise StoreUnavailable(_CLOSED)
        fresh = self._fresh.get(job.loop)
        if fresh is None:
            # What one round of the event loop brings is handed over together: a thread that starts on the first while
            # the loop still makes the others would only fight with it over the interpreter.
            fresh = self._fresh[job.loop] = []
            job.loop.call_soon(self._hand_over, job.loop)
        fresh.append(job)
        result: T = await job.future
        return result

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._fresh.pop(loop, ())
        with self._gate:
            if not self._closed:
                for job in jobs:
                    self._queue.put(job)
                return
        for job in jobs:
            job.error = StoreUnavailable(_CLOSED)
            job.settle()

    def close(self, *, takers: int) -> None:
        """Let nothing more in, and end each of the threads that take from the queue."""
        if self._closed:
            return
        self._hand_over(asyncio.get_running_loop())
        with self._gate:
            self._closed = True
            for _ in range(takers):
                self._queue.put(None)

    def take(self) -> Job | None:
        """The next job, when there is one; ``None``: there will be none."""
        return self._queue.get()

    def take_waiting(self, limit: int) -> list[Job | None]:
        """Up to ``limit`` jobs that wait now; behind a ``None`` there will be none."""
        taken: list[Job | None] = []
        with contextlib.suppress(queue.Empty):
            while len(taken) < limit:
                taken.append(self._queue.get_nowait())
        return taken


def settle(jobs: Sequence[Job]) -> None:
    """Tell all who wait, with one wake-up of each event loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, waiting in by_loop.items():
        # A loop that is closed refuses: then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, waiting)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()


class Writer:
    """The thread that writes. What waits is committed together.

    Args:
        file: the file, to see that it is still there.
        tables: over the one connection that may write.
        jobs: what to do; each is given the tables.
    """

    def __init__(self, file: DatabaseFile, tables: WritableTables, jobs: Jobs) -> None:
        self._file = file
        self._tables = tables
        self._jobs = jobs
        self._failing = False

    def run(self) -> None:
        """Take all that waits, commit it, tell everybody; until the queue is closed and empty."""
        jobs, tables, running = self._jobs, self._tables, True
        while running:
            batch = jobs.take_waiting(MAX_BATCH)
            if not batch and not tables.littered:
                batch = [jobs.take(), *jobs.take_waiting(MAX_BATCH - 1)]
            running = None not in batch
            # Nobody waits any more for what was cancelled.
            work = [job for job in batch if job is not None and not job.future.cancelled()]
            if work or running:
                self._commit(work)
            settle(work)

    def _commit(self, work: Sequence[Job]) -> None:
        """Do it all in one transaction; or, if that fails, each in one of its own."""
        tables, begun = self._tables, False
        try:
            self._file.check_present()
            tables.begin()
            begun = True
            for job in work:
                self._do(job)
            if tables.littered:
                tables.clear()
            tables.commit()
        except BaseException as error:  # noqa: BLE001  # it is told to those who wait
            tables.roll_back()
            if begun and len(work) > 1:
                # One of them may be the cause, or too large for the room that is left.
                for job in work:
                    job.result = job.error = None
                    self._commit([job])
                return
            self._failed(work, error)
        else:
            if self._failing:
                self._failing = False
                log.info("store writes again")

    def _do(self, job: Job) -> None:
        written = self._tables.connection.total_changes
        try:
            job.result = job.run(self._tables)
        except sqlite3.Error:
            raise
        except BaseException as error:  # whatever the caller's own code raises is that caller's
            if self._tables.connection.total_changes != written:
                raise
            job.error = error

    def _failed(self, work: Sequence[Job], error: BaseException) -> None:
        for job in work:
            job.error = unavailable(error)
        if not self._failing and isinstance(unavailable(error), StoreUnavailable):
            # Once, and not for every caller until it is over.
            self._failing = True
            log.error("store cannot write", exc_info=error)


class Reader:
    """A thread that reads, over a connection of its own.

    Args:
        file: the file.
        jobs: what to do; each is given the tables.
    """

    def __init__(self, file: DatabaseFile, jobs: Jobs) -> None:
        self._file = file
        self._jobs = jobs

    def run(self) -> None:
        """Take one after the other, until the queue is closed and empty."""
        tables: Tables | None = None
        while (job := self._jobs.take()) is not None:
            try:
                if tables is None:
                    tables = Tables(self._file.connect(read_only=True))
                job.result = job.run(tables)
            except BaseException as error:  # it is told to the one who waits
                job.error = unavailable(error)
                if isinstance(job.error, StoreUnavailable):
                    log.error("store cannot read", exc_info=error)
            settle([job])
        if tables is not None:
            tables.connection.close()


def unavailable(error: BaseException) -> BaseException:
    """The error as one caller is told of it; one that is no fault of disk or file stays what it is."""
    if isinstance(error, FileLost):
        message = "the file of the store was deleted, moved or replaced"
    elif isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        message = _FAILURES.get(code & 0xFF, "the store could not be read or written")
    else:
        return error
    told = StoreUnavailable(message, retry_after=1)
    told.__cause__ = error
    return told
