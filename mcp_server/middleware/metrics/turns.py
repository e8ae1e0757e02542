"""Metrics of turns, of calls to providers, and of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mcp_server.middleware.durations import duration, time_to_first_token
from mcp_server.middleware.metrics.families import Families
from mcp_server.values import SECOND, Attempt, Turn

MAX_MODELS: Final = 500
"""How many models have time series of their own; further ones share one."""
OTHER: Final = "other"
"""The provider and the model of the time series that they share."""

_MODEL: Final = ("provider", "model")


class TurnMetrics:
    """Counts turns and calls to providers: a :class:`~mcp_server.interfaces.TurnObserver`.

    The labels ``provider`` and ``model`` of a turn are those of its last attempt, and empty if it had none.
    """

    def __init__(self, families: Families, *, max_models: int = MAX_MODELS) -> None:
        self._started = families.counter("contextprotocol_turns_started", "Turns that have started.", "service")
        self._running = families.gauge("contextprotocol_turns_running", "Turns that are running.", "service")
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
        self.attempts = families.counter(
            "contextprotocol_attempts_ended",
            "Calls to providers that have ended, by outcome and, if they failed, by reason.",
            *(*_MODEL, "outcome", "reason"),
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
        self._max_models = max_models
        self._models: dict[tuple[str, str], _Model] = {}

    def turn_started(self, turn: Turn, /) -> None:
        """Count a turn that starts."""
        self._started.with_labels(turn.service).value += 1
        self._running.with_labels(turn.service).value += 1

    def turn_ended(self, turn: Turn, /) -> None:
        """Count a turn that has ended, and its durations."""
        self._running.with_labels(turn.service).value -= 1
        last = turn.attempts[-1] if turn.attempts else None
        model = self._model(last.provider, last.model) if last is not None else self._model("", "")
        reason = turn.error.reason if turn.error is not None else ""
        self.ended.with_labels(*model.key, turn.state.value, reason).value += 1
        model.duration.observe(duration(turn) / SECOND)
        if (first := time_to_first_token(turn)) is not None:
            model.first_token.observe(first / SECOND)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Count calls to providers, their tokens and their cost."""
        for attempt in attempts:
            model = self._model(attempt.provider, attempt.model)
            reason = attempt.error.reason if attempt.error is not None else ""
            self.attempts.with_labels(*model.key, attempt.outcome.value, reason).value += 1
            model.input_tokens.value += attempt.usage.input_tokens
            model.output_tokens.value += attempt.usage.output_tokens
            if attempt.currency:
                self.cost.with_labels(*model.key, attempt.currency).value += attempt.cost_nanos / SECOND

    def count_sessions(self, count: int) -> None:
        """Set the number of sessions."""
        self._sessions.value = count

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


class _Model:
    """The time series of one model, which every turn changes."""

    __slots__ = ("duration", "first_token", "input_tokens", "key", "output_tokens")

    def __init__(self, metrics: TurnMetrics, provider: str, name: str) -> None:
        self.key = (provider, name)
        self.duration = metrics.duration.with_labels(provider, name)
        self.first_token = metrics.first_token.with_labels(provider, name)
        self.input_tokens = metrics.tokens.with_labels(provider, name, "input")
        self.output_tokens = metrics.tokens.with_labels(provider, name, "output")
