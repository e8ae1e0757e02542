"""Metrics of turns, of calls to providers, and of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from mcp_server.middleware.durations import duration, own_time, time_per_output_token, time_to_first_token
from mcp_server.middleware.metrics.families import Families
from mcp_server.middleware.metrics.gen_ai import GenAIMetrics, GenAIModel
from mcp_server.values import SECOND, Attempt, Clock, Turn, TurnState, elapsed

MAX_MODELS: Final = 200
"""How many models have time series of their own; further ones share one."""
OTHER: Final = "other"
"""The provider and the model of the time series that they share."""

_MODEL: Final = ("provider", "model")


class TurnMetrics:
    """Counts turns and calls to providers: a :class:`~mcp_server.interfaces.TurnObserver`.

    The labels ``provider`` and ``model`` of a turn are those of its last attempt, and empty if it had none.

    Args:
        families: creates the metrics.
        clock: the time, in nanoseconds since the Unix epoch.
        max_models: how many models have time series of their own.
    """

    def __init__(self, families: Families, clock: Clock, *, max_models: int = MAX_MODELS) -> None:
        self._clock = clock
        self.started = families.counter("contextprotocol_turns_started", "Turns that have started.", "service")
        self.running = families.gauge(
            "contextprotocol_turns_running", "Turns that have started and not ended, waiting ones included.", "service"
        )
        self._states = families.gauge("contextprotocol_turns", "Turns that run or wait for their session.", "state")
        self.ended = families.counter(
            "contextprotocol_turns_ended",
            "Turns that have ended, by final state and, if they failed, by reason.",
            *(*_MODEL, "state", "reason"),
        )
        self.duration = families.histogram(
            "contextprotocol_turn_seconds", "From the acceptance of a turn to its end.", *_MODEL
        )
        self.first_token = families.histogram(
            "contextprotocol_turn_first_token_seconds", "From the acceptance of a turn to its first token.", *_MODEL
        )
        self.token_interval = families.histogram(
            "contextprotocol_token_interval_seconds",
            "The mean time between two tokens of a call to a provider, once for each call.",
            *_MODEL,
        )
        self.own = families.histogram(
            "contextprotocol_turn_own_seconds",
            "The time that the server itself took for a turn: before its first call to a provider and after its last.",
            "service",
        )
        self.queue = families.histogram(
            "contextprotocol_turn_queue_seconds", "How long turns waited for their session, if they did.", "service"
        )
        self.attempts = families.counter(
            "contextprotocol_attempts_ended",
            "Calls to providers that have ended, by outcome and, if they failed, by reason.",
            *(*_MODEL, "outcome", "reason"),
        )
        self.retries = families.counter(
            "contextprotocol_retries",
            "Further calls to the same model after a call that failed, by the reason of the failure.",
            *(*_MODEL, "reason"),
        )
        self.fallbacks = families.counter(
            "contextprotocol_fallbacks",
            "Calls to another model after a call that failed, by the model that failed and the reason.",
            *(*_MODEL, "reason"),
        )
        self.tokens = families.counter(
            "contextprotocol_tokens",
            "Input and output tokens of calls to providers, including failed calls.",
            *(*_MODEL, "direction"),
        )
        self.cost = families.counter(
            "contextprotocol_cost", "The cost of calls to providers at the configured prices.", *_MODEL, "currency"
        )
        self._circuit_open = families.gauge(
            "contextprotocol_circuit_open", "How many circuit breakers of a provider's models are open.", "provider"
        )
        self._sessions = families.gauge(
            "contextprotocol_sessions", "Sessions that have not expired, as of the last sweep."
        ).with_labels()
        self.gen_ai = GenAIMetrics(families)
        self._max_models = max_models
        self._models: dict[tuple[str, str], _Model] = {}
        self._services: dict[str, _Service] = {}

    def turn_started(self, turn: Turn, /) -> None:
        """Count a turn that starts."""
        service = self._service(turn.service)
        service.started.value += 1
        service.running.value += 1

    def turn_ended(self, turn: Turn, /) -> None:
        """Count a turn that has ended, and its durations."""
        service = self._service(turn.service)
        service.running.value -= 1
        last = turn.attempts[-1] if turn.attempts else None
        model = self._model(last.provider, last.model) if last is not None else self._model("", "")
        reason = turn.error.reason if turn.error is not None else ""
        self.ended.with_labels(*model.key, turn.state.value, reason).value += 1
        model.duration.observe(duration(turn) / SECOND)
        if (first := time_to_first_token(turn)) is not None:
            model.first_token.observe(first / SECOND)
        if (own := own_time(turn, self._clock())) is not None:
            service.own.observe(own / SECOND)
        if turn.waited:
            service.queue.observe(elapsed(turn.create_time, turn.start_time or self._clock()) / SECOND)
        if last is not None:
            model.gen_ai(turn.service).turn_ended(turn)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Count calls to providers, their tokens and their cost."""
        previous: Attempt | None = None
        for attempt in attempts:
            model = self._model(attempt.provider, attempt.model)
            reason = attempt.error.reason if attempt.error is not None else ""
            self.attempts.with_labels(*model.key, attempt.outcome.value, reason).value += 1
            model.input_tokens.value += attempt.usage.input_tokens
            model.output_tokens.value += attempt.usage.output_tokens
            if attempt.currency:
                self.cost.with_labels(*model.key, attempt.currency).value += attempt.cost_nanos / SECOND
            if (interval := time_per_output_token(attempt)) is not None:
                model.token_interval.observe(interval / SECOND)
            model.gen_ai(service).attempt_ended(attempt, reason)
            if previous is not None and previous.error is not None:
                self._count_further(previous, previous.error.reason, attempt)
            previous = attempt

    def _count_further(self, failed: Attempt, reason: str, following: Attempt) -> None:
        """Count the call that followed one that failed."""
        same = (failed.provider, failed.model) == (following.provider, following.model)
        model = self._model(failed.provider, failed.model)
        (self.retries if same else self.fallbacks).with_labels(*model.key, reason).value += 1

    def count_sessions(self, count: int) -> None:
        """Set the number of sessions."""
        self._sessions.value = count

    def watch_turns(self, count: Callable[[TurnState], int]) -> None:
        """Show how many turns there are in each state in which they have not ended.

        Args:
            count: how many there are in a state; called at each scrape, on another thread.
        """
        for state in (TurnState.QUEUED, TurnState.RUNNING):
            self._states.with_labels(state.value).compute = partial(count, state)

    def watch_circuits(self, circuits: Mapping[str, Callable[[], int]]) -> None:
        """Show which circuit breakers are open.

        Args:
            circuits: by the name of the provider, how many circuit breakers of its models are open.
        """
        for name, count in circuits.items():
            self._circuit_open.with_labels(name).compute = count

    def _model(self, provider: str, name: str) -> _Model:
        model = self._models.get((provider, name))
        if model is None and len(self._models) >= self._max_models:
            # Callers may name models that a provider does not list: time series must not grow without limit.
            provider = name = OTHER
            model = self._models.get((OTHER, OTHER))
        if model is None:
            model = self._models[provider, name] = _Model(self, provider, name)
        return model

    def _service(self, name: str) -> _Service:
        service = self._services.get(name)
        if service is None:
            service = self._services[name] = _Service(self, name)
        return service


class _Service:
    """The time series of one kind of turns, which every turn changes."""

    __slots__ = ("own", "queue", "running", "started")

    def __init__(self, metrics: TurnMetrics, name: str) -> None:
        self.started = metrics.started.with_labels(name)
        self.running = metrics.running.with_labels(name)
        self.own = metrics.own.with_labels(name)
        self.queue = metrics.queue.with_labels(name)


class _Model:
    """The time series of one model, which every turn changes."""

    __slots__ = (
        "_gen_ai",
        "_metrics",
        "duration",
        "first_token",
        "input_tokens",
        "key",
        "output_tokens",
        "token_interval",
    )

    def __init__(self, metrics: TurnMetrics, provider: str, name: str) -> None:
        self.key = (provider, name)
        self.duration = metrics.duration.with_labels(provider, name)
        self.first_token = metrics.first_token.with_labels(provider, name)
        self.token_interval = metrics.token_interval.with_labels(provider, name)
        self.input_tokens = metrics.tokens.with_labels(provider, name, "input")
        self.output_tokens = metrics.tokens.with_labels(provider, name, "output")
        self._metrics = metrics
        self._gen_ai: dict[str, GenAIModel] = {}

    def gen_ai(self, service: str) -> GenAIModel:
        """Its time series by the names of OpenTelemetry."""
        model = self._gen_ai.get(service)
        if model is None:
            model = self._gen_ai[service] = GenAIModel(self._metrics.gen_ai, service, *self.key)
        return model
