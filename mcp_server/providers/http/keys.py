"""Rotates the API keys of one server, and suspends a key that the server refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

MAX_MODELS: Final = 1000
"""For how many models it is known which keys cannot be used for them: callers may ask for any name."""


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
        self._ready_for: dict[str, dict[int, float]] = {}
        """By model: the keys that cannot be used for it, each with the time until which that counts."""
        self._rest = rest
        self._clock = clock
        self._next = 0

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, model: str = "") -> int:
        """The number of the key to use now for ``model``; -1 if there are none. If all are suspended: the first to be
        available."""
        count = len(self._keys)
        if count < 2:
            return count - 1
        now = self._clock()
        order = [(self._next + step) % count for step in range(count)]
        chosen = next((key for key in order if self._available(key, model) <= now), None)
        if chosen is None:
            chosen = min(order, key=lambda key: self._available(key, model))
        self._next = (chosen + 1) % count
        return chosen

    def refused(self, key: int, model: str, retry_after: float | None, *, for_all: bool) -> float | None:
        """Suspend a key.

        Args:
            key: its number.
            model: the model that was asked for.
            retry_after: how long, in seconds, if the server says so.
            for_all: whether for all models, not only for this one.

        Returns:
            0 if another key can be used for the model now; else the seconds until one is available, if the server says
            so.
        """
        if len(self._keys) < 2:
            return retry_after
        now = self._clock()
        until = now + (self._rest if retry_after is None else retry_after)
        if for_all:
            self._ready[key] = until
        else:
            self._suspend(key, model, until)
        wait = max(0.0, min([self._available(other, model) for other in range(len(self._keys))]) - now)
        return wait if wait == 0 or retry_after is not None else None

    def lacks(self, key: int, model: str) -> bool:
        """Suspend a key for a model that the server does not have for it.

        Returns:
            Whether another key can be used for the model now.
        """
        if len(self._keys) < 2:
            return False
        now = self._clock()
        self._suspend(key, model, now + self._rest)
        return any(self._available(other, model) <= now for other in range(len(self._keys)) if other != key)

    def _suspend(self, key: int, model: str, until: float) -> None:
        if model not in self._ready_for and len(self._ready_for) >= MAX_MODELS:
            del self._ready_for[next(iter(self._ready_for))]
        self._ready_for.setdefault(model, {})[key] = until

    def _available(self, key: int, model: str) -> float:
        """From when on a key can be used for a model."""
        ready = self._ready_for.get(model)
        return max(self._ready[key], ready.get(key, 0.0)) if ready else self._ready[key]
