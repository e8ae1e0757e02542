"""Prometheus metrics of calls, turns, the store, the server and the process. Nothing is done for each token."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from mcp_server.interfaces import Call, ObservableStore, Provider, Store
from mcp_server.middleware.metrics.admission import AdmissionMetrics
from mcp_server.middleware.metrics.calls import CallMetrics
from mcp_server.middleware.metrics.families import Families
from mcp_server.middleware.metrics.issuers import IssuerMetrics
from mcp_server.middleware.metrics.local_models import LocalModelMetrics
from mcp_server.middleware.metrics.server import ServerMetrics
from mcp_server.middleware.metrics.settings import SettingsMetrics
from mcp_server.middleware.metrics.stores import StoreMetrics
from mcp_server.middleware.metrics.turns import MAX_MODELS, TurnMetrics
from mcp_server.values import Attempt, Clock, Turn, TurnState

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class Metrics:
    """All metrics: a :data:`~mcp_server.interfaces.Middleware` and a :class:`~mcp_server.interfaces.TurnObserver`.

    Labels have few values: methods of the contract, status codes, models, states and reasons; never a tenant, a key, a
    session or a peer.

    Args:
        clock: the time, in nanoseconds since the Unix epoch.
        max_models: how many models have time series of their own; further ones share one.
    """

    def __init__(self, clock: Clock = time.time_ns, *, max_models: int = MAX_MODELS) -> None:
        self.families = Families()
        """The metrics that the server itself defines."""
        self.registry = CollectorRegistry()
        """Everything that is served: the metrics of the process, too."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.registry.register(self.families)
        self.issuers = IssuerMetrics(self.families)
        """Fetches of the keys of issuers of tokens."""
        self.admission = AdmissionMetrics(self.families)
        """The metrics of calls that wait to be admitted, and of those that are not."""
        self._server = ServerMetrics(self.families)
        self._calls = CallMetrics(self.families, self._server, self.admission)
        self._turns = TurnMetrics(self.families, clock, max_models=max_models)
        self._local_models = LocalModelMetrics(self.families)
        self._store = StoreMetrics(self.families)
        self._settings = SettingsMetrics(self.families)

    def page(self) -> WSGIApplication:
        """The page that Prometheus reads, as a WSGI application."""
        page: WSGIApplication = make_wsgi_app(self.registry)
        return page

    def __call__(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Count one call."""
        return self._calls(call)

    def turn_started(self, turn: Turn, /) -> None:
        """Count a turn that starts."""
        self._turns.turn_started(turn)

    def turn_ended(self, turn: Turn, /) -> None:
        """Count a turn that has ended, and its durations."""
        self._turns.turn_ended(turn)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Count calls to providers, their tokens and their cost."""
        self._turns.attempts_ended(service, attempts)

    def count_sessions(self, count: int) -> None:
        """Set the number of sessions."""
        self._turns.count_sessions(count)

    def watch_store(self, store: Store) -> None:
        """Measure a store that has not been opened, if it lets itself be measured."""
        if isinstance(store, ObservableStore):
            self._store.watch(store)

    def watch_turns(self, count: Callable[[TurnState], int]) -> None:
        """Show how many turns run and how many wait.

        Args:
            count: how many there are in a state; called at each scrape, on another thread.
        """
        self._turns.watch_turns(count)

    def watch_circuits(self, circuits: Mapping[str, Callable[[], int]]) -> None:
        """Show which circuit breakers are open.

        Args:
            circuits: by the name of the provider, how many circuit breakers of its models are open.
        """
        self._turns.watch_circuits(circuits)

    def watch_providers(self, providers: Mapping[str, Provider]) -> None:
        """Show which models of these providers are loaded on this machine."""
        self._local_models.watch(providers)

    def count_reload(self, outcome: str) -> None:
        """Count one attempt to read the settings again: ``applied``, ``unchanged`` or ``failed``."""
        self._settings.count_reload(outcome)

    def watch_certificate(self, expires: Callable[[], float]) -> None:
        """Show when the certificate of the server expires.

        Args:
            expires: the time, in seconds since the Unix epoch.
        """
        self._settings.watch_certificate(expires)

    async def watch_loop(self) -> None:
        """Without end: measure how late the event loop is."""
        await self._server.watch_loop()
