"""The log: one line for each call and one for each turn, with no word of any prompt or answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import structlog

from mcp_server.interfaces import Call
from mcp_server.middleware.durations import duration, time_to_first_token
from mcp_server.values import Attempt, Turn, TurnState

_MILLISECOND = 1_000_000
_QUIET = frozenset({"grpc.health.v1.Health"})
"""Services that machines call all day: their lines are for debugging."""


class AccessLog:
    """Writes the lines: a :data:`~mcp_server.interfaces.Middleware` and a :class:`~mcp_server.interfaces.TurnObserver`.

    A call that fails by a fault of the server is an error, everything else about calls is information: that a caller
    sent a bad request is no warning to the operator. A turn that its caller stopped is information too; one that failed
    or was interrupted is a warning.
    """

    def __init__(self) -> None:
        # Bound once: a logger that is not bound looks its settings up at each line.
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("contextprotocol.access").bind()

    def __call__(self, call: Call) -> _Line:
        """Around one call."""
        return _Line(self._log, call)

    def turn_started(self, turn: Turn, /) -> None:
        """Nothing: the line comes at the end."""

    def turn_ended(self, turn: Turn, /) -> None:
        """Write the turn's line."""
        attempt = turn.attempts[-1] if turn.attempts else None
        facts: dict[str, Any] = {
            "turn": turn.name,
            "tenant": turn.tenant,
            "service": turn.service,
            "state": turn.state.value,
            "attempts": len(turn.attempts),
            "input_tokens": turn.usage.input_tokens,
            "output_tokens": turn.usage.output_tokens,
            "duration_ms": round(duration(turn) / _MILLISECOND, 3),
        }
        if attempt is not None:
            facts["model"] = f"{attempt.provider}/{attempt.model}"
        if (first := time_to_first_token(turn)) is not None:
            facts["first_token_ms"] = round(first / _MILLISECOND, 3)
        if turn.error is not None:
            facts["reason"] = turn.error.reason
        wanted = turn.state in (TurnState.SUCCEEDED, TurnState.CANCELLED)
        (self._log.info if wanted else self._log.warning)("turn", **facts)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Write a line for each call to a provider that failed."""
        for attempt in attempts:
            if attempt.error is not None and attempt.outcome is TurnState.FAILED:
                facts: dict[str, Any] = {
                    "service": service,
                    "model": f"{attempt.provider}/{attempt.model}",
                    "duration_ms": round(attempt.duration / _MILLISECOND, 3),
                    "reason": attempt.error.reason,
                }
                if attempt.error.reason.startswith("PROVIDER_"):
                    # What others say may repeat a part of the prompt.
                    facts["error"] = attempt.error.message
                self._log.warning("attempt", **facts)


class _Line:
    """Around one call. A class with two methods costs a fifth of a generator under ``asynccontextmanager``."""

    __slots__ = ("_begin", "_call", "_log")

    def __init__(self, log: structlog.typing.FilteringBoundLogger, call: Call) -> None:
        self._log = log
        self._call = call
        self._begin = 0

    async def __aenter__(self) -> None:
        self._begin = time.perf_counter_ns()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call, log = self._call, self._log
        if call.code in ("INTERNAL", "UNKNOWN"):
            write = log.error
        else:
            write = log.debug if call.service in _QUIET else log.info
        facts: dict[str, Any] = {"method": f"{call.service}/{call.method}", "code": call.code}
        if call.reason != call.code:
            facts["reason"] = call.reason
        if call.turn:
            facts["turn"] = call.turn
        took = round((time.perf_counter_ns() - self._begin) / _MILLISECOND, 3)
        write("call", **facts, duration_ms=took, tenant=call.tenant, peer=call.peer)
