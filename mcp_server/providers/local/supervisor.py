"""Watches the process of a model, and kills it where it would harm other calls, other models or the machine."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import structlog

from mcp_server.providers.local.process import ModelProcess
from mcp_server.providers.local.suspects import Suspects
from mcp_server.providers.local.usage import ProcessUsage

log = structlog.get_logger("contextprotocol.providers")

POLL_SECONDS: Final = 0.25
"""How often the process is looked at."""
STOP_SECONDS: Final = 5.0
"""How long the process may take to stop work that nobody wants any more; at least twice its slowest step."""
MOST_STOP_SECONDS: Final = 30.0
"""The same, however slow its steps are."""
IDLE_SECONDS: Final = 10.0
"""How long the process may compute although nothing was asked of it."""
IDLE_SHARE: Final = 0.5
"""How much of a processor counts as computing."""
LOAD_STALL_SECONDS: Final = 300.0
"""How long the process may neither compute nor read nor write while it loads: the model hub gives up sooner."""
GIB: Final = 1 << 30


class Work:
    """One request that the process works on. Made by :meth:`Supervisor.begin`."""

    def __init__(self, supervisor: Supervisor, content: bytes, step_seconds: float) -> None:
        self.content = content
        """The request."""
        self.step_seconds = step_seconds
        """How long one step of it may take, if it has long ones; 0: it has none."""
        self.stop_asked: float | None = None
        """When its end was asked for, by the supervisor's clock; ``None``: it is still wanted."""
        self._supervisor = supervisor

    def progress(self) -> None:
        """The process has answered something."""
        self._supervisor.progressed()

    def stop(self) -> None:
        """Nobody wants it any more: the process has to end it soon."""
        self.stop_asked = self._supervisor.time

    def end(self) -> None:
        """The process has finished it, or has stopped."""
        self._supervisor.ended(self)

    def break_off(self) -> None:
        """The process ended in the middle of it."""
        self._supervisor.broken_off(self)


class Supervisor:
    """Watches one process until it ends.

    Args:
        process: the process.
        suspects: learns on which requests the process worked when it was killed, or crashed.
        memory_limit: the most memory that it may take, in bytes; ``None``: what is free while it loads, and then a
            quarter of the machine's memory more than it has taken so far. Pages of the model's files are not counted:
            the system can drop them. Where it does not tell them apart, as on macOS, ``None`` is no limit.
        stall_seconds: how long it may work on requests without any progress, unless they have longer steps.
    """

    def __init__(
        self, process: ModelProcess, suspects: Suspects, *, memory_limit: int | None, stall_seconds: float
    ) -> None:
        self.time = 0.0
        """A clock, in seconds. It does not count the time in which this process itself was held up."""
        self._process = process
        self._usage = ProcessUsage(process.pid)
        self._limit = sys.maxsize if memory_limit is None else memory_limit
        self._sets_limit = memory_limit is None and self._usage.counts_own_memory
        if self._sets_limit:
            self._limit = self._usage.free
        self._stall_seconds = stall_seconds
        self._suspects = suspects
        self._works: set[Work] = set()
        self._broken_off: set[Work] = set()
        self._loaded = False
        self._last_progress = 0.0
        self._last_long_step = 0.0
        self._slowest_step = 0.0
        self._done = (0.0, 0)
        self._idle_since: tuple[float, float] | None = None
        self.watching = asyncio.create_task(self._watch(), name=f"watching the process of {process.model}")
        """Done when the process has ended, and who may be the cause is noted."""

    def loaded(self) -> None:
        """The model is loaded: from now on the process works only if something is asked of it."""
        self._loaded = True
        if self._sets_limit:
            self._limit = self._usage.memory + self._usage.installed // 4

    def begin(self, content: bytes, *, step_seconds: float = 0.0) -> Work:
        """Something is asked of the process.

        Args:
            content: the request.
            step_seconds: how long one step of it may take, if it has long ones. Within such a step the process neither
                goes on with other requests nor stops them.
        """
        if not self._works:
            self._last_progress = self.time
        work = Work(self, content, step_seconds)
        self._works.add(work)
        return work

    def progressed(self) -> None:
        """The process has answered something."""
        self._slowest_step = max(self._slowest_step, self.time - self._last_progress)
        self._last_progress = self.time

    def ended(self, work: Work) -> None:
        """The process works on a request no longer."""
        self._works.discard(work)
        if work.step_seconds:
            self._last_long_step = self.time

    def broken_off(self, work: Work) -> None:
        """The process ended while it worked on a request."""
        self._works.discard(work)
        self._broken_off.add(work)

    def kill(self, reason: str) -> None:
        """Kill the process. Each request that it works on can be the cause."""
        self._kill(reason, self._works)

    async def close(self) -> None:
        """Watch no longer. For when the process has ended."""
        self.watching.cancel()
        await asyncio.wait([self.watching])

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while self._process.alive:
            await asyncio.wait([self._process.ending], timeout=POLL_SECONDS)
            now = loop.time()
            self.time += min(now - looked, 2 * POLL_SECONDS)
            looked = now
            problem, causes = self._problem()
            if problem and self._process.alive:
                self._kill(problem, causes)
        if self._process.crashed and self._loaded:
            works, outcome = self._works | self._broken_off, await self._process.outcome()
            self._suspects.accuse([work.content for work in works], f"it {outcome}")
            log.error("model process ended", model=self._process.model, how=outcome, output=self._process.output)

    def _kill(self, reason: str, causes: set[Work]) -> None:
        self._suspects.accuse([work.content for work in causes], reason)
        self._process.kill(reason)

    def _problem(self) -> tuple[str, set[Work]]:
        """Why the process cannot go on, empty if it can; and the work that can be the cause."""
        if (memory := self._usage.memory) > self._limit:
            taken, limit = f"{memory / GIB:.1f} GiB", f"{self._limit / GIB:.1f} GiB"
            return f"it took {taken} of memory, and the limit is {limit} (memory_limit)", self._works
        if not self._loaded:
            return self._loading_problem(), set()
        if not self._works:
            return self._idle_problem(), set()
        self._idle_since = None
        patience = min(max(STOP_SECONDS, 2 * self._slowest_step), MOST_STOP_SECONDS)
        patience = max([patience, *[work.step_seconds for work in self._works]])
        stopping = {
            # The process reads what it is asked only when its step has ended.
            work: self.time - max(work.stop_asked, self._last_long_step)
            for work in self._works
            if work.stop_asked is not None
        }
        if stuck := {work for work, seconds in stopping.items() if seconds > patience}:
            return f"it did not stop within {patience:.0f} s when it was asked to", stuck
        wanted = self._works - stopping.keys()
        patience = max([self._stall_seconds, *[work.step_seconds for work in wanted]])
        if wanted and self.time - self._last_progress > patience:
            return f"it worked for {patience:.0f} s without any progress", wanted
        return "", set()

    def _loading_problem(self) -> str:
        done = self._usage.processor_seconds, self._usage.transferred
        if done != self._done:
            self._done = done
            self._last_progress = self.time
        if self.time - self._last_progress < LOAD_STALL_SECONDS:
            return ""
        return f"its model made no progress in loading for {LOAD_STALL_SECONDS:.0f} s"

    def _idle_problem(self) -> str:
        computed = self._usage.processor_seconds
        if self._idle_since is None:
            self._idle_since = self.time, computed
        since, before = self._idle_since
        if self.time - since < IDLE_SECONDS:
            return ""
        self._idle_since = self.time, computed
        if computed - before < IDLE_SHARE * IDLE_SECONDS:
            return ""
        return f"it computed for {IDLE_SECONDS:.0f} s although nothing was asked of it"
