"""Metrics of the models that run on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mcp_server.interfaces import LoadCounts, Provider, Unloader
from mcp_server.middleware.metrics.families import Families


class LocalModelMetrics:
    """Shows how many models are loaded, and counts loads."""

    def __init__(self, families: Families) -> None:
        self._loaded = families.gauge(
            "contextprotocol_local_models_loaded", "Models of a provider that are loaded on this machine.", "provider"
        )
        self._loads = families.counter(
            "contextprotocol_local_model_loads", "How often a model of a provider was loaded.", "provider"
        )
        self._unloads = families.counter(
            "contextprotocol_local_model_unloads",
            "How often a model of a provider was unloaded, or its process ended.",
            "provider",
        )
        self._seconds = families.counter(
            "contextprotocol_local_model_load_seconds", "How long the loads of a provider's models took.", "provider"
        )
        self._names: set[str] = set()

    def watch(self, providers: Mapping[str, Provider]) -> None:
        """Show the models of these providers from now on, of those that keep models in memory.

        Args:
            providers: the providers in use, by name.
        """
        counts = {name: each.load_counts for name, each in providers.items() if isinstance(each, Unloader)}
        self._names |= counts.keys()
        for name in self._names:
            self._show(name, counts.get(name, LoadCounts))

    def _show(self, provider: str, counts: Callable[[], LoadCounts]) -> None:
        def loaded() -> float:
            now = counts()
            return now.loads - now.unloads

        self._loaded.with_labels(provider).compute = loaded
        self._loads.with_labels(provider).compute = lambda: counts().loads
        self._unloads.with_labels(provider).compute = lambda: counts().unloads
        self._seconds.with_labels(provider).compute = lambda: counts().load_seconds
