"""Rotates the API keys of one server, and suspends a key that the server refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Keys:
    """The keys of one provider.

    Args:
        keys: in the order in which they are used; empty for a server that needs none.
        rest: how long a refused key is suspended if the server does not say, in seconds.
        clock: the monotonic time, in seconds.
    """

    def __init__(self, keys: Sequence[str], *, rest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = tuple(keys)
        self._ready = [0.0] * len(self._keys)
        self._rest = rest
        self._clock = clock
        self._next = 0

    def __len__(self) -> int:
        return len(self._keys)

    def take(self) -> int:
        """The number of the key to use now; -1 if there are none. If all are suspended: the first to be available."""
        count = len(self._keys)
        if count < 2:
            return count - 1
        now = self._clock()
        order = [(self._next + step) % count for step in range(count)]
        chosen = next((key for key in order if self._ready[key] <= now), None)
        if chosen is None:
            chosen = min(order, key=self._ready.__getitem__)
        self._next = (chosen + 1) % count
        return chosen

    def refused(self, key: int, retry_after: float | None) -> float | None:
        """Suspend a key.

        Returns:
            0 if another key can be used now; else the seconds until one is available, if the server says so.
        """
        if len(self._keys) < 2:
            return retry_after
        now = self._clock()
        self._ready[key] = now + (self._rest if retry_after is None else retry_after)
        wait = max(0.0, min(self._ready) - now)
        return wait if wait == 0 or retry_after is not None else None
