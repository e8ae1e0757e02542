"""Metrics of admission: what waits for a place, how long, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

from mcp_server.middleware.metrics.families import Families


class AdmissionMetrics:
    """Counts the calls that wait and those that are refused."""

    def __init__(self, families: Families) -> None:
        self._waiting = families.gauge("contextprotocol_admission_queue_depth", "Calls that wait to be admitted.")
        self._seconds = families.histogram(
            "contextprotocol_admission_queue_seconds", "How long calls have waited that were admitted after a wait."
        ).with_labels()
        self._refusals = families.counter(
            "contextprotocol_admission_refusals", "Calls that were refused, by the limit that they met.", "limit"
        )

    def watch(self, waiting: Callable[[], int]) -> None:
        """Show how many calls wait.

        Args:
            waiting: their number.
        """
        self._waiting.with_labels().compute = waiting

    def waited(self, seconds: float) -> None:
        """Count a call that has been admitted after a wait."""
        self._seconds.observe(seconds)

    def refused(self, limit: str) -> None:
        """Count a call that is refused, by the name of the limit."""
        self._refusals.with_labels(limit).value += 1
