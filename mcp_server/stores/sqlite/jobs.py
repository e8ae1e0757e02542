"""Jobs that event loops hand to the threads of the store, and the queue between them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import StoreObserver

T = TypeVar("T")

_CLOSED: Final = "the store is closed"


class Job:
    """A function to run on a thread of the store, and the future of its caller."""

    __slots__ = ("error", "future", "loop", "result", "run")

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.run = run
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Resolve the caller's future; on its event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class JobQueue:
    """A queue that can be closed: jobs accepted before are done, later ones are refused.

    Args:
        operation: what its jobs are, as :class:`~mcp_server.interfaces.StoreObserver` names it.
    """

    def __init__(self, operation: str) -> None:
        self.observer: StoreObserver | None = None
        """Is notified of each job, and of each batch."""
        self._operation = operation
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._pending: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._closed = True
        self._lock = threading.Lock()

    def open(self) -> None:
        """Accept jobs."""
        self._closed = False

    async def run(self, function: Callable[[Any], T]) -> T:
        """Run a function on a thread of the store, and return its result or raise its error."""
        job = Job(function)
        if self._closed:
            raise StoreUnavailable(_CLOSED)
        pending = self._pending.get(job.loop)
        if pending is None:
            # The jobs of one iteration of the event loop are handed over together: a thread that started with the first
            # one while the loop creates the others would compete with it for the interpreter.
            pending = self._pending[job.loop] = []
            job.loop.call_soon(self._hand_over, job.loop)
        pending.append(job)
        begin, failed = time.perf_counter(), False
        try:
            result: T = await job.future
        except StoreUnavailable:
            failed = True
            raise
        finally:
            if self.observer is not None:
                self.observer.operation_ended(self._operation, time.perf_counter() - begin, failed=failed)
        return result

    def __len__(self) -> int:
        """How many jobs wait for a thread."""
        return self._queue.qsize()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs = self._pending.pop(loop, ())
        with self._lock:
            if not self._closed:
                for job in jobs:
                    self._queue.put(job)
                return
        for job in jobs:
            job.error = StoreUnavailable(_CLOSED)
            job.settle()

    def close(self, *, threads: int) -> None:
        """Refuse further jobs, and end each of the threads that take from the queue."""
        if self._closed:
            return
        self._hand_over(asyncio.get_running_loop())
        with self._lock:
            self._closed = True
            for _ in range(threads):
                self._queue.put(None)

    def get(self, timeout: float | None = None) -> Job | None:
        """Wait for the next job; ``None`` ends the thread.

        Raises:
            queue.Empty: none came within ``timeout`` seconds.
        """
        return self._queue.get(timeout=timeout)

    def get_waiting(self, limit: int) -> list[Job | None]:
        """Up to ``limit`` jobs that are waiting now; a ``None`` among them is the last and ends the thread."""
        jobs: list[Job | None] = []
        with contextlib.suppress(queue.Empty):
            while len(jobs) < limit:
                jobs.append(self._queue.get_nowait())
        return jobs


def settle(jobs: Sequence[Job]) -> None:
    """Resolve the futures of all callers, with one wake-up of each event loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.loop].append(job)
    for loop, waiting in by_loop.items():
        # A closed event loop raises: it has no callers any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, waiting)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
