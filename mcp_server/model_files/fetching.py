"""What the ways to fetch a file have in common."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the current step, the bytes done and the total bytes; a total of 0 is unknown."""


class CannotFetch(Exception):
    """A file cannot be had; the message says why, and what to do."""
