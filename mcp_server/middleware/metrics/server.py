"""Metrics of the server as a whole: its version, settings and certificates, its event loop, and what it refuses."""

from __future__ import annotations

import asyncio
import time
from importlib import metadata
from typing import Final

from mcp_server.middleware.metrics.families import Families
from mcp_server.values import SECOND, Clock

LAG_INTERVAL: Final = 0.25
"""How often the event loop is measured, in seconds."""
MAX_NAMES: Final = 50
"""How many limits, reasons and certificates have time series of their own; further ones share one."""
OTHER: Final = "other"
"""The label of the time series that they share."""


class ServerMetrics:
    """Measures the server.

    Args:
        families: creates the metrics.
        clock: the time, in nanoseconds since the Unix epoch.
    """

    def __init__(self, families: Families, clock: Clock) -> None:
        self._clock = clock
        build = families.gauge("contextprotocol_build_info", "The version of the server; the value is 1.", "version")
        build.with_labels(metadata.version("contextprotocol")).value = 1
        self._lag = families.histogram(
            "contextprotocol_event_loop_lag_seconds",
            "How late the event loop was when it was measured, four times a second.",
        ).with_labels()
        self._refusals = families.counter(
            "contextprotocol_admission_refusals", "Work that was refused, by the limit that was reached.", "limit"
        )
        self._authentication = families.counter(
            "contextprotocol_authentication_failures",
            "Calls that were refused for their credentials, by the reason of the error.",
            "reason",
        )
        self._config_version = families.gauge(
            "contextprotocol_config_version",
            "The number of the settings in use: 1 at the start, one more at each reload.",
        ).with_labels()
        self._config_time = families.gauge(
            "contextprotocol_config_load_timestamp_seconds", "When the settings in use were read."
        ).with_labels()
        self._reloads = families.counter(
            "contextprotocol_config_reloads",
            "Attempts to reload the settings, by outcome: succeeded or failed.",
            "outcome",
        )
        self._reloads.with_labels("succeeded")
        self._reloads.with_labels("failed")
        self._reload_successful = families.gauge(
            "contextprotocol_config_last_reload_successful", "Whether the last attempt to load the settings succeeded."
        ).with_labels()
        self._certificates = families.gauge(
            "contextprotocol_certificate_expiry_timestamp_seconds", "When a certificate expires.", "certificate"
        )
        self._limits: set[str] = set()
        self._reasons: set[str] = set()
        self._certificate_names: set[str] = set()

    async def watch_loop(self) -> None:
        """Without end: measure how late the event loop is."""
        while True:
            due = time.perf_counter() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(time.perf_counter() - due, 0.0))

    def work_refused(self, limit: str) -> None:
        """Count work that was refused because a limit was reached.

        Args:
            limit: which limit, for example the name of its setting.
        """
        self._refusals.with_labels(_bounded(limit, self._limits)).value += 1

    def caller_refused(self, reason: str) -> None:
        """Count a call that was refused for its credentials.

        Args:
            reason: the reason of the error, for example ``BAD_CREDENTIALS``.
        """
        self._authentication.with_labels(_bounded(reason, self._reasons)).value += 1

    def config_loaded(self, version: int) -> None:
        """Show the settings that are in use from now on.

        Args:
            version: their number: 1 at the start, one more at each reload.
        """
        self._config_version.value = version
        self._config_time.value = self._clock() / SECOND
        self._reload_successful.value = 1
        if version > 1:
            self._reloads.with_labels("succeeded").value += 1

    def config_reload_failed(self) -> None:
        """Count an attempt to reload the settings that changed nothing."""
        self._reloads.with_labels("failed").value += 1
        self._reload_successful.value = 0

    def certificate_loaded(self, name: str, expire_time: float) -> None:
        """Show when a certificate expires.

        Args:
            name: what it is used for, for example ``server``.
            expire_time: in seconds since the Unix epoch.
        """
        self._certificates.with_labels(_bounded(name, self._certificate_names)).value = expire_time


def _bounded(name: str, known: set[str]) -> str:
    """The name, or ``other`` if there are too many."""
    if name not in known:
        if len(known) >= MAX_NAMES:
            return OTHER
        known.add(name)
    return name
