"""Metrics of issuers of tokens, whose keys the server fetches."""

from __future__ import annotations

import time

from mcp_server.middleware.metrics.families import Families


class IssuerMetrics:
    """Counts fetches of keys. The names of issuers are those of their tables in the settings."""

    def __init__(self, families: Families) -> None:
        self._fetches = families.counter(
            "contextprotocol_issuer_key_fetches", "Fetches of the keys of issuers of tokens.", "issuer", "outcome"
        )
        self._fetched = families.gauge(
            "contextprotocol_issuer_keys_fetched_timestamp_seconds",
            "When the keys of an issuer of tokens were fetched last, in seconds since the Unix epoch.",
            "issuer",
        )

    def fetched(self, issuer: str, succeeded: bool) -> None:
        """Count one fetch."""
        self._fetches.with_labels(issuer, "succeeded" if succeeded else "failed").value += 1
        if succeeded:
            self._fetched.with_labels(issuer).value = time.time()
