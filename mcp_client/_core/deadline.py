"""The time that is left for calls that follow one another."""

from __future__ import annotations

import time

from mcp_client._core.arguments import seconds
from mcp_client.errors import DeadlineExceeded, Details
from mcp_client.values import Seconds


class Deadline:
    """The end of several calls together.

    Args:
        timeout: from now; ``None``: there is no end.
    """

    def __init__(self, timeout: Seconds | None) -> None:
        self._end = None if timeout is None else time.monotonic() + seconds("timeout", timeout)

    def left(self) -> float | None:
        """The time that is left, in seconds; ``None``: without end.

        Raises:
            DeadlineExceeded: there is none.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the deadline passed between two turns", Details(code="DEADLINE_EXCEEDED"))
        return left
