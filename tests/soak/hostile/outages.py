"""What callers are promised while the server is down or its disk is full, and afterwards."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

ANSWER: Final = 1.0
"""Seconds that a turn takes at most while the server is up and can write."""
RECONNECTING: Final = 3.0
"""Seconds until every client has connected again after a server has started: gRPC waits up to 2.4 to try."""
WRITING_AGAIN: Final = 1.5
"""Seconds until every client has tried again after the disk has room: the server asks for one."""


@dataclass(slots=True, kw_only=True)
class Outage:
    """A time in which turns cannot be answered."""

    cause: str
    begin: float
    recovery: float
    """Seconds from its end until all is as before."""
    end: float = math.inf


class Outages:
    """All outages of a run, by the monotonic clock."""

    def __init__(self) -> None:
        self.all: list[Outage] = []
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def outage(self, cause: str, recovery: float) -> Iterator[None]:
        """One that lasts as long as the context."""
        outage = Outage(cause=cause, begin=time.monotonic(), recovery=recovery)
        self.all.append(outage)
        self._none.clear()
        try:
            yield
        finally:
            outage.end = time.monotonic()
            self._none.set()

    def met(self, begin: float, end: float) -> list[Outage]:
        """Those that a turn with this begin and end may have suffered from, recovery included."""
        return [outage for outage in self.all if outage.begin < end and outage.end + outage.recovery > begin]

    def deadline(self, begin: float) -> float:
        """When a turn that began then must have been answered: :data:`ANSWER` after its begin, or after the recovery
        from an outage that came in between."""
        limit = begin + ANSWER
        for outage in self.all:
            recovered = outage.end + outage.recovery
            if outage.begin < limit and recovered > begin:
                limit = max(limit, recovered + ANSWER)
        return limit

    @property
    def steady(self) -> bool:
        """Whether the last one is over, and all have recovered."""
        return not self.met(time.monotonic(), math.inf)

    async def recovered(self) -> None:
        """Return when it is."""
        while not self.steady:
            await self._none.wait()
            await asyncio.sleep(self.all[-1].end + self.all[-1].recovery - time.monotonic())
