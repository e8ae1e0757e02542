"""Metrics by the names of OpenTelemetry's semantic conventions for generative AI, as Prometheus writes them.

They measure what :mod:`~mcp_server.middleware.metrics.turns` measures under the names of this server, so that
dashboards that know the conventions work. ``gen_ai_provider_name`` is the configured name of the provider.
"""

from __future__ import annotations

from typing import Final

from mcp_server.middleware.durations import duration, time_per_output_token, time_to_first_token
from mcp_server.middleware.metrics.families import Families, Histogram
from mcp_server.middleware.operations import OPERATIONS
from mcp_server.values import SECOND, Attempt, Turn, TurnState

_MODEL: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_DURATIONS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_INTERVALS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_TOKENS: Final = tuple(4**power for power in range(14))


class GenAIMetrics:
    """Creates the metrics."""

    def __init__(self, families: Families) -> None:
        self.duration = families.histogram(
            "gen_ai_client_operation_duration_seconds",
            "The duration of calls to providers; error_type is the reason of those that failed.",
            *(*_MODEL, "error_type"),
            buckets=_DURATIONS,
        )
        self.tokens = families.histogram(
            "gen_ai_client_token_usage",
            "Input and output tokens of each call to a provider.",
            *(*_MODEL, "gen_ai_token_type"),
            buckets=_TOKENS,
        )
        self.request = families.histogram(
            "gen_ai_server_request_duration_seconds",
            "From the acceptance of a turn that succeeded to its end.",
            *_MODEL,
            buckets=_DURATIONS,
        )
        self.first_token = families.histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the acceptance of a turn that succeeded to its first token.",
            *_MODEL,
            buckets=_FIRST,
        )
        self.per_token = families.histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "The mean time between two tokens of the last call of a turn that succeeded, once for each turn.",
            *_MODEL,
            buckets=_INTERVALS,
        )


class GenAIModel:
    """The time series of one model and one kind of work.

    Args:
        metrics: the metrics.
        service: ``chat``, ``completion`` or ``embedding``.
        provider: the bounded value of the label for the provider.
        model: the bounded value of the label for the model.
    """

    __slots__ = (
        "_durations",
        "_key",
        "_metrics",
        "first_token",
        "input_tokens",
        "output_tokens",
        "per_token",
        "request",
    )

    def __init__(self, metrics: GenAIMetrics, service: str, provider: str, model: str) -> None:
        self._metrics = metrics
        self._key = key = (OPERATIONS[service], provider, model)
        self._durations: dict[str, Histogram] = {}
        self.input_tokens = metrics.tokens.with_labels(*key, "input")
        self.output_tokens = metrics.tokens.with_labels(*key, "output")
        self.request = metrics.request.with_labels(*key)
        self.first_token = metrics.first_token.with_labels(*key)
        self.per_token = metrics.per_token.with_labels(*key)

    def attempt_ended(self, attempt: Attempt, reason: str) -> None:
        """Observe a call to the provider."""
        seconds = self._durations.get(reason)
        if seconds is None:
            seconds = self._durations[reason] = self._metrics.duration.with_labels(*self._key, reason)
        seconds.observe(attempt.duration / SECOND)
        if attempt.usage.input_tokens:
            self.input_tokens.observe(attempt.usage.input_tokens)
        if attempt.usage.output_tokens:
            self.output_tokens.observe(attempt.usage.output_tokens)

    def turn_ended(self, turn: Turn) -> None:
        """Observe a turn, if it succeeded."""
        if turn.state is not TurnState.SUCCEEDED:
            return
        self.request.observe(duration(turn) / SECOND)
        if (first := time_to_first_token(turn)) is not None:
            self.first_token.observe(first / SECOND)
        if (interval := time_per_output_token(turn.attempts[-1])) is not None:
            self.per_token.observe(interval / SECOND)
