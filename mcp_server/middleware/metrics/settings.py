"""Metrics of the settings and of the certificates that a server runs with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mcp_server.middleware.metrics.families import Families

OUTCOMES: Final = ("applied", "unchanged", "failed")
"""How a reload may end."""


class SettingsMetrics:
    """Counts reloads, and shows when the certificate expires."""

    def __init__(self, families: Families) -> None:
        reloads = families.counter(
            "contextprotocol_config_reloads", "Attempts to read the settings again, by their outcome.", "outcome"
        )
        self._reloads = {outcome: reloads.with_labels(outcome) for outcome in OUTCOMES}
        self._version = families.gauge(
            "contextprotocol_config_version",
            "Number of the settings in effect: 1 at the start, 1 more for each reload that changes them.",
        ).with_labels()
        self._version.value = 1
        self._successful = families.gauge(
            "contextprotocol_config_last_reload_successful",
            "Whether the last attempt to read the settings again succeeded; 1 before the first.",
        ).with_labels()
        self._successful.value = 1
        self._expiry = families.gauge(
            "contextprotocol_certificate_expiry_timestamp_seconds",
            "When the certificate of the server expires, in seconds since the Unix epoch; absent without TLS.",
        )

    def count_reload(self, outcome: str) -> None:
        """Count one reload; ``outcome`` is one of :data:`OUTCOMES`."""
        self._reloads[outcome].value += 1
        self._successful.value = outcome != "failed"
        if outcome == "applied":
            self._version.value += 1

    def watch_certificate(self, expires: Callable[[], float]) -> None:
        """Show when the certificate expires."""
        self._expiry.with_labels().compute = expires
