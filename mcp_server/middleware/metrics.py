"""Prometheus metrics, under the names that dashboards for gRPC know.

Counted once a call and once a turn, never a token.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Call
from mcp_server.middleware.durations import duration, time_to_first_token
from mcp_server.values import SECOND, Attempt, Turn

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_CALL = ("grpc_type", "grpc_service", "grpc_method")
_MODEL = ("provider", "model")
MAX_MODELS = 500
"""How many models are counted by name; further ones are counted together."""
OTHER = "other"
"""What they are called."""


class Metrics:
    """Counts: a :data:`~mcp_server.interfaces.Middleware` and a :class:`~mcp_server.interfaces.TurnObserver`.

    Labels have few values: methods of the contract, status codes, configured models, states and reasons; never a
    tenant, a session or a peer.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.registry = registry
        """Everything that is served."""
        self._calls = _CallMetrics(registry)
        self._turns = _TurnMetrics(registry)
        self._methods: dict[tuple[str, str, str], _Method] = {}
        self._services: dict[str, _Service] = {}
        self._models: dict[tuple[str, str], _Model] = {}
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def serve(self, address: str) -> int:
        """Serve them over HTTP on ``host:port``, port 0 for any; return the port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), addr=host.strip("[]"), registry=self.registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.address: cannot listen on {address}: {error.strerror}; "
                'choose another, port 0 for any, or "" for no metrics'
            ) from error
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        if self._server is None or self._thread is None:
            return
        stopping = threading.Thread(target=self._server.shutdown)
        stopping.start()
        # The server looks whether it is to stop twice a second, and whenever somebody connects.
        host, port = self._server.server_address[:2]
        with contextlib.suppress(OSError):
            socket.create_connection((str(host), port)).close()
        stopping.join()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None

    def count_sessions(self, count: int) -> None:
        """How many sessions there are now."""
        self._turns.sessions.set(count)

    def __call__(self, call: Call) -> _Around:
        """Around one call."""
        key = (call.kind, call.service, call.method)
        method = self._methods.get(key)
        if method is None:
            method = self._methods[key] = _Method(self._calls, key)
        return _Around(call, method)

    def turn_started(self, turn: Turn, /) -> None:
        """One more runs."""
        service = self._service(turn)
        service.started.inc()
        service.running.inc()

    def turn_ended(self, turn: Turn, /) -> None:
        """Add it up."""
        self._service(turn).running.dec()
        last = turn.attempts[-1] if turn.attempts else None
        model = self._model(*(last.provider, last.model) if last is not None else ("", ""))
        model.ended(turn.state.value, turn.error.reason if turn.error is not None else "").inc()
        model.duration.observe(duration(turn) / SECOND)
        if (first := time_to_first_token(turn)) is not None:
            model.first_token.observe(first / SECOND)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Add them up."""
        for attempt in attempts:
            model = self._model(attempt.provider, attempt.model)
            model.attempt(attempt.outcome.value, attempt.error.reason if attempt.error is not None else "").inc()
            model.input.inc(attempt.usage.input_tokens)
            model.output.inc(attempt.usage.output_tokens)
            if attempt.currency:
                self._turns.cost.labels(attempt.provider, attempt.model, attempt.currency).inc(
                    attempt.cost_nanos / 1_000_000_000
                )

    def watch_circuits(self, circuits: Mapping[str, Callable[[], float]]) -> None:
        """Show which providers are left alone.

        Args:
            circuits: by the provider's name, how long that is still so, in seconds.
        """
        for name, wait in circuits.items():
            self._turns.circuit.labels(name).set_function(partial(_is_positive, wait))

    def _service(self, turn: Turn) -> _Service:
        service = self._services.get(turn.service)
        if service is None:
            service = self._services[turn.service] = _Service(self._turns, turn.service)
        return service

    def _model(self, provider: str, name: str) -> _Model:
        model = self._models.get((provider, name))
        if model is None and len(self._models) >= MAX_MODELS:
            # Callers may name models that a provider does not list: they must not fill the memory of whoever stores.
            provider = name = OTHER
            model = self._models.get((OTHER, OTHER))
        if model is None:
            model = self._models[provider, name] = _Model(self._turns, provider, name)
        return model


class _CallMetrics:
    """What is counted of calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter("grpc_server_started", "Calls that began.", _CALL, registry=registry)
        self.handled = Counter(
            "grpc_server_handled", "Calls that ended, by status.", (*_CALL, "grpc_code"), registry=registry
        )
        self.in_flight = Gauge("grpc_server_in_flight", "Calls that run now.", _CALL, registry=registry)
        self.seconds = Histogram(
            "grpc_server_handling_seconds", "How long calls took.", _CALL, registry=registry, buckets=_SECONDS
        )


class _TurnMetrics:
    """What is counted of turns and sessions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.started = Counter("contextprotocol_turns_started", "Turns that began.", ("service",), registry=registry)
        self.running = Gauge("contextprotocol_turns_running", "Turns that run now.", ("service",), registry=registry)
        self.ended = Counter(
            "contextprotocol_turns_ended",
            "Turns that ended, by their last attempt's model, their state and the reason of a failure.",
            (*_MODEL, "state", "reason"),
            registry=registry,
        )
        self.duration = Histogram(
            "contextprotocol_turn_seconds",
            "From the acceptance of turns to their end.",
            _MODEL,
            registry=registry,
            buckets=_SECONDS,
        )
        self.first_token = Histogram(
            "contextprotocol_turn_first_token_seconds",
            "From the acceptance of turns to their first token.",
            _MODEL,
            registry=registry,
            buckets=_SECONDS,
        )
        self.attempts = Counter(
            "contextprotocol_attempts_ended",
            "Calls to providers that ended, by how and why.",
            (*_MODEL, "outcome", "reason"),
            registry=registry,
        )
        self.tokens = Counter(
            "contextprotocol_tokens",
            "Tokens that calls to providers took, in and out, failed calls included.",
            (*_MODEL, "direction"),
            registry=registry,
        )
        self.cost = Counter(
            "contextprotocol_cost",
            "What calls to providers cost by the configured prices.",
            (*_MODEL, "currency"),
            registry=registry,
        )
        self.circuit = Gauge(
            "contextprotocol_circuit_open",
            "1 while a provider is left alone because it failed again and again.",
            ("provider",),
            registry=registry,
        )
        self.sessions = Gauge(
            "contextprotocol_sessions", "Sessions that live, as of the last sweep.", registry=registry
        )


class _Method:
    """The metrics of one method, their labels bound."""

    __slots__ = ("_codes", "_handled", "_key", "in_flight", "seconds", "started")

    def __init__(self, metrics: _CallMetrics, key: tuple[str, str, str]) -> None:
        self._handled = metrics.handled
        self._key = key
        self._codes: dict[str, Counter] = {}
        self.started = metrics.started.labels(*key)
        self.in_flight = metrics.in_flight.labels(*key)
        self.seconds = metrics.seconds.labels(*key)

    def handled(self, code: str) -> Counter:
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._handled.labels(*self._key, code)
        return counter


class _Service:
    """The metrics of chats, or of completions."""

    __slots__ = ("running", "started")

    def __init__(self, metrics: _TurnMetrics, service: str) -> None:
        self.started = metrics.started.labels(service)
        self.running = metrics.running.labels(service)


class _Model:
    """The metrics of one model's turns; of turns that no model was reached for, both names are empty."""

    __slots__ = ("_attempts", "_ended", "_ends", "_key", "_tried", "duration", "first_token", "input", "output")

    def __init__(self, metrics: _TurnMetrics, provider: str, model: str) -> None:
        self._key = (provider, model)
        self._ended = metrics.ended
        self._ends: dict[tuple[str, str], Counter] = {}
        self._tried = metrics.attempts
        self._attempts: dict[tuple[str, str], Counter] = {}
        self.duration = metrics.duration.labels(*self._key)
        self.first_token = metrics.first_token.labels(*self._key)
        self.input = metrics.tokens.labels(*self._key, "input")
        self.output = metrics.tokens.labels(*self._key, "output")

    def ended(self, state: str, reason: str) -> Counter:
        counter = self._ends.get((state, reason))
        if counter is None:
            counter = self._ends[state, reason] = self._ended.labels(*self._key, state, reason)
        return counter

    def attempt(self, outcome: str, reason: str) -> Counter:
        counter = self._attempts.get((outcome, reason))
        if counter is None:
            counter = self._attempts[outcome, reason] = self._tried.labels(*self._key, outcome, reason)
        return counter


def _is_positive(wait: Callable[[], float]) -> float:
    return float(wait() > 0)


class _Around:
    """Around one call."""

    __slots__ = ("_begin", "_call", "_method")

    def __init__(self, call: Call, method: _Method) -> None:
        self._call = call
        self._method = method
        self._begin = 0.0

    async def __aenter__(self) -> None:
        self._method.started.inc()
        self._method.in_flight.inc()
        self._begin = time.perf_counter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        method = self._method
        method.handled(self._call.code).inc()
        method.in_flight.dec()
        method.seconds.observe(time.perf_counter() - self._begin)
