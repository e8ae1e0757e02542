"""Metrics of the server as a whole: its version, its event loop, and the callers that it refuses."""

from __future__ import annotations

import asyncio
import time
from importlib import metadata
from typing import Final

from mcp_server.middleware.metrics.families import Families

LAG_INTERVAL: Final = 0.25
"""How often the event loop is measured, in seconds."""
MAX_REASONS: Final = 50
"""How many reasons have time series of their own; further ones share one."""
OTHER: Final = "other"
"""The label of the time series that they share."""


class ServerMetrics:
    """Measures the server.

    Args:
        families: creates the metrics.
    """

    def __init__(self, families: Families) -> None:
        build = families.gauge("contextprotocol_build_info", "The version of the server; the value is 1.", "version")
        build.with_labels(metadata.version("contextprotocol")).value = 1
        self._lag = families.histogram(
            "contextprotocol_event_loop_lag_seconds",
            "How late the event loop was when it was measured, four times a second.",
        ).with_labels()
        self._authentication = families.counter(
            "contextprotocol_authentication_failures",
            "Calls that were refused for their credentials, by the reason of the error.",
            "reason",
        )
        self._reasons: set[str] = set()

    async def watch_loop(self) -> None:
        """Without end: measure how late the event loop is."""
        while True:
            due = time.perf_counter() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(time.perf_counter() - due, 0.0))

    def caller_refused(self, reason: str) -> None:
        """Count a call that was refused for its credentials.

        Args:
            reason: the reason of the error, for example ``BAD_CREDENTIALS``.
        """
        if reason not in self._reasons:
            if len(self._reasons) >= MAX_REASONS:
                reason = OTHER
            self._reasons.add(reason)
        self._authentication.with_labels(reason).value += 1
