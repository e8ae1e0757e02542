"""What the ways to fetch a file have in common."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how many bytes of how many are; 0 bytes in all: not known."""


class CannotFetch(Exception):
    """A file cannot be had; the message says why, and what to do."""
