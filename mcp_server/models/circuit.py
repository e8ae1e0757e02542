"""Whether a provider is asked at all: one circuit for each, which opens when it fails again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

Monotonic = Callable[[], float]
"""Tells the time in seconds since whenever."""


class Circuit:
    """Keeps calls from a provider that is down.

    It is *closed* while all is well. So many failures in a row *open* it: nothing is asked. After a time it lets one
    call of a caller through; that one closes it, or opens it again. It never makes a call of its own.

    Args:
        failures: how many in a row open it.
        open_seconds: how long it stays open.
        clock: tells the time.
    """

    def __init__(self, *, failures: int, open_seconds: float, clock: Monotonic = time.monotonic) -> None:
        self._limit = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._on_trial = False
        self._asked_for_peace = 0.0

    @property
    def wait(self) -> float:
        """Seconds until it lets a call through; 0: it does now."""
        if self._opened is None:
            return 0.0
        left = self._opened + self._open_seconds - self._clock()
        # While one call is on trial nobody knows how long that takes.
        return max(left, 1.0) if self._on_trial else max(left, 0.0)

    @property
    def resting(self) -> float:
        """Seconds for which the provider has asked for fewer calls; it is better to ask another."""
        return max(self._asked_for_peace - self._clock(), 0.0)

    def begin(self) -> bool:
        """A call is made, only while :attr:`wait` is 0; whether it is the one on trial."""
        self._on_trial = self._opened is not None
        return self._on_trial

    def heard(self, *, on_trial: bool) -> None:
        """The provider has begun to answer. A call on trial has shown that it lives: others may come, but if this
        answer is not brought to its end either, that is enough to open it again."""
        if on_trial:
            self._opened = None
            self._on_trial = False
            self._failures = self._limit - 1

    def succeeded(self) -> None:
        """The provider has done what it should, a refusal with good reason included."""
        self._opened = None
        self._on_trial = False
        self._failures = 0

    def failed(self, *, on_trial: bool) -> None:
        """The provider has failed."""
        self._failures += 1
        # A call that had begun before the others failed does not make them wait longer.
        if self._failures >= self._limit and (self._opened is None or on_trial):
            self._opened = self._clock()
        self.left(on_trial=on_trial)

    def limited(self, seconds: float, *, on_trial: bool) -> None:
        """The provider asks for fewer calls, for so long. It is not down."""
        self._asked_for_peace = self._clock() + seconds
        self.left(on_trial=on_trial)

    def left(self, *, on_trial: bool) -> None:
        """The call has ended without telling anything."""
        if on_trial:
            self._on_trial = False
