"""File descriptors: each connection takes one, and a process that has none left can neither accept nor write."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger("contextprotocol.server")

RESERVED: Final = 256
"""Descriptors that are kept for the store, for providers and for files."""
NEAR: Final = 0.8
"""The share of descriptors in use from which on the server warns."""
INTERVAL: Final = 10.0
"""Seconds between two looks."""
_MOST: Final = 1_048_576
"""Enough for any server; some systems allow more than they can count."""


def raise_limit() -> int:
    """Let this process open as many descriptors as the system allows it to, and return their number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return allowed if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):  # some systems allow less than they say
        return soft
    return allowed


def descriptors_for_connections() -> int:
    """How many connections the descriptors of this process allow."""
    limit = raise_limit()
    return max(limit - RESERVED, limit // 2)


def in_use() -> int:
    """How many descriptors are open."""
    return len(list(Path("/dev/fd").iterdir()))


class DescriptorWatch:
    """Warns when few descriptors are left."""

    def __init__(self) -> None:
        self._warned = False

    async def run(self) -> None:
        """Look once per interval, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.look(in_use(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def look(self, used: int, limit: int) -> None:
        """Write a warning if ``used`` comes near to ``limit``; one until it has fallen again."""
        near = used > limit * NEAR
        if near and not self._warned:
            advice = "raise the limit of the process (ulimit -n, LimitNOFILE), or lower server.max_connections"
            log.warning("file descriptors nearly used up", used=used, limit=limit, advice=advice)
        self._warned = near
