"""Requests during which the process of a model was killed or crashed: they run one at a time, and at most twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from mcp_server.errors import UnsupportedByModel

SUSPECT_SECONDS: Final = 600.0
"""How long a request stays suspect."""
MOST_ENDS: Final = 2
"""A request during which the process ended so often is refused."""
MOST_SUSPECTS: Final = 1000
"""How many requests are remembered; the oldest are forgotten."""


class _Suspect(msgspec.Struct, frozen=True, kw_only=True):
    ends: int
    reason: str
    until: float


class Suspects:
    """The suspect requests of one model.

    When a process is killed, each request that it worked on can be the cause. They may be sent again, but only one of
    them runs at a time. The one that is the cause is found when the process ends again, and is refused from then on;
    the others succeed, and are suspect no longer.

    Args:
        model: the name of the model.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._suspects: dict[int, _Suspect] = {}
        self._running: set[int] = set()
        self._one_at_a_time = asyncio.Lock()

    def accuse(self, requests: Sequence[bytes], reason: str) -> None:
        """The process was killed, or crashed, while it worked on these requests."""
        keys = {hash(request) for request in requests}
        # Requests that run beside one that is suspect already are not the cause.
        for key in keys & self._running or keys:
            ends = self._suspects[key].ends + 1 if key in self._suspects else 1
            self._suspects[key] = _Suspect(ends=ends, reason=reason, until=time.monotonic() + SUSPECT_SECONDS)
        while len(self._suspects) > MOST_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]

    @asynccontextmanager
    async def admit(self, request: bytes) -> AsyncIterator[None]:
        """Run a request within this context; one that is suspect waits for other suspects.

        Raises:
            UnsupportedByModel: it was the cause of ended processes.
        """
        key = hash(request) if self._suspects else None
        if key is None or not self._is_suspect(key):
            yield
            return
        async with self._one_at_a_time:
            self._is_suspect(key)
            self._running.add(key)
            try:
                yield
            finally:
                self._running.discard(key)
            self._suspects.pop(key, None)

    def _is_suspect(self, key: int) -> bool:
        suspect = self._suspects.get(key)
        if suspect is None:
            return False
        if suspect.until < time.monotonic():
            del self._suspects[key]
            return False
        if suspect.ends >= MOST_ENDS:
            raise UnsupportedByModel(
                f"the model {self._model} cannot process this request: its process ended {suspect.ends} times while it "
                f"did, the last time because {suspect.reason}",
                metadata={"model": self._model},
            )
        return True
