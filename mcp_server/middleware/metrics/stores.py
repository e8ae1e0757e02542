"""Metrics of the store: how long its operations take, how many changes it commits together, and how many wait."""

from __future__ import annotations

from functools import partial
from typing import Final

from mcp_server.interfaces import ObservableStore
from mcp_server.middleware.metrics.families import Families

_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_OPERATIONS: Final = ("change", "read")


class StoreMetrics:
    """Measures a store: a :class:`~mcp_server.interfaces.StoreObserver`."""

    def __init__(self, families: Families) -> None:
        seconds = families.histogram(
            "contextprotocol_store_operation_seconds",
            "How long operations of the store took, the time in its queue included.",
            "operation",
        )
        self._seconds = {operation: seconds.with_labels(operation) for operation in _OPERATIONS}
        failures = families.counter(
            "contextprotocol_store_failures", "Operations that ended with STORE_UNAVAILABLE.", "operation"
        )
        self._failures = {operation: failures.with_labels(operation) for operation in _OPERATIONS}
        self._waiting = families.gauge(
            "contextprotocol_store_waiting", "Operations that wait for a thread of the store.", "operation"
        )
        self._commit = families.histogram(
            "contextprotocol_store_commit_seconds", "How long the store took to write a batch of changes to disk."
        ).with_labels()
        self._batch = families.histogram(
            "contextprotocol_store_batch_changes", "How many changes were committed together.", buckets=_BATCHES
        ).with_labels()

    def operation_ended(self, operation: str, seconds: float, /, *, failed: bool) -> None:
        """Observe an operation."""
        self._seconds[operation].observe(seconds)
        if failed:
            self._failures[operation].value += 1

    def batch_committed(self, changes: int, seconds: float, /) -> None:
        """Observe a batch of changes."""
        self._batch.observe(changes)
        self._commit.observe(seconds)

    def watch(self, store: ObservableStore) -> None:
        """Measure a store from now on."""
        store.observe(self)
        for operation in _OPERATIONS:
            self._waiting.with_labels(operation).compute = partial(store.waiting, operation)
