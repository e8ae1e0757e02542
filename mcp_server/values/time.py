"""Times and durations: integers, in nanoseconds."""

from __future__ import annotations

from collections.abc import Callable

SECOND = 1_000_000_000
"""One second in the unit of every time and duration here."""
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
Clock = Callable[[], int]
"""Returns the time in nanoseconds since the Unix epoch."""


def milliseconds(nanoseconds: float) -> float:
    """Milliseconds, with three decimal places."""
    return nanoseconds // 1000 / 1000


def elapsed(start: int, end: int) -> int:
    """Nanoseconds from ``start`` to ``end``; 0 if the clock was set back in between."""
    return max(end - start, 0)
