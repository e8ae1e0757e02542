"""A memory store that several servers of one process share: for tests of what happens between servers."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import msgspec

from mcp_server.stores.memory import MemoryStore
from mcp_server.values import Clock, Lease, Turn


class SharedMemoryStore(MemoryStore):
    """A :class:`~mcp_server.interfaces.SharedStore` in plain dictionaries.

    Every server opens and closes the same object; the last one to close it forgets everything. All of them run on one
    event loop.

    Args:
        clock: the clock of the store, in nanoseconds since the Unix epoch.
    """

    def __init__(self, clock: Clock = time.time_ns) -> None:
        super().__init__()
        self._clock = clock
        self._users = 0

    async def open(self) -> None:
        """Add a user."""
        self._users += 1
        await super().open()

    async def close(self) -> None:
        """Remove a user, and forget everything with the last one."""
        self._users = max(self._users - 1, 0)
        if not self._users:
            await super().close()

    def _now(self) -> int:
        """The time for decisions, by the clock of the store."""
        return self._clock()

    async def renew(self, owner: str, duration: int, /) -> Collection[str]:
        """Extend all leases of the owner."""
        self._check_open()
        renewed: set[str] = set()
        expire_time = self._clock() + duration
        for key in self._unfinished:
            turn = self._turns[key]
            lease = turn.lease
            if lease is not None and lease.owner == owner:
                lease = msgspec.structs.replace(lease, expire_time=expire_time)
                self._turns[key] = msgspec.structs.replace(turn, lease=lease)
                renewed.add(turn.id)
        return renewed

    async def lapsed(self, limit: int, /) -> Sequence[Turn]:
        """Unfinished turns whose lease has ended, or that have none."""
        self._check_open()
        now = self._clock()
        return [turn for key in self._unfinished if _ended((turn := self._turns[key]).lease, now)][:limit]


def _ended(lease: Lease | None, now: int) -> bool:
    return lease is None or (lease.expire_time is not None and lease.expire_time <= now)
