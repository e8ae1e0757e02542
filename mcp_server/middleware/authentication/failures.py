"""Delays the answers to failed authentications of one peer, without delaying anybody with valid credentials."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST: Final = 10
"""How many failures of one host are answered without delay after a pause."""
PER_SECOND: Final = 1.0
"""How many failures of one host per second are answered without delay."""
MAX_DELAY: Final = 1.0
"""The longest delay, in seconds."""
MAX_WAITING: Final = 256
"""How many calls may be delayed at a time, since each holds its request. Further ones are answered at once."""
MAX_HOSTS: Final = 4096
"""How many hosts are remembered: those whose failures are the most recent."""


def host_of(peer: str) -> str:
    """The host of a peer as gRPC names it, for example ``ipv4:192.0.2.1:4711``."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


class Failures:
    """Counts failures by host, and delays their answers. Only failures are counted and delayed: callers with valid
    credentials behind the same proxy notice nothing.

    Args:
        monotonic: the time since any moment, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._used: OrderedDict[str, float] = OrderedDict()  # until when the allowance of each host is used up
        self._waiting = 0

    def note(self, peer: str) -> float:
        """Count a failure of that peer; return by how many seconds its answer has to be delayed."""
        now = self._monotonic()
        host = host_of(peer)
        used = max(self._used.pop(host, now), now) + 1 / PER_SECOND
        self._used[host] = min(used, now + (BURST + MAX_DELAY) / PER_SECOND)
        if len(self._used) > MAX_HOSTS:
            self._used.popitem(last=False)
        return min(max(used - now - BURST / PER_SECOND, 0.0), MAX_DELAY)

    async def delay(self, peer: str) -> None:
        """Count a failure of that peer, and return when it may be answered."""
        seconds = self.note(peer)
        if seconds and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self._waiting -= 1
