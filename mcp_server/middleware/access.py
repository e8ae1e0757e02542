"""The access log: one line for each call and one for each turn, without any prompt or answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

import structlog

from mcp_server.interfaces import Call
from mcp_server.middleware.durations import duration, milliseconds, time_to_first_token
from mcp_server.values import Attempt, Turn, TurnState

_DEBUG_SERVICES: Final = frozenset({"grpc.health.v1.Health"})
"""Services that machines call all day: their lines have the level ``debug``."""
_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN"})
"""Status codes of calls that ended by a fault of the server: their lines have the level ``error``."""
_INTENDED: Final = frozenset({TurnState.SUCCEEDED, TurnState.CANCELLED})
"""States of turns whose lines have the level ``info``; those of the others have the level ``warning``."""


class AccessLog:
    """Writes the lines: a :data:`~mcp_server.interfaces.Middleware` and a :class:`~mcp_server.interfaces.TurnObserver`.

    A call that ends with an error of the caller is not a warning to the operator: its line has the level ``info``.
    """

    def __init__(self) -> None:
        # Bound once: a logger that is not bound looks its configuration up at each line.
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger("contextprotocol.access").bind()

    def __call__(self, call: Call) -> _LoggedCall:
        """Write a line at the end of ``call``."""
        return _LoggedCall(self._log, call)

    def turn_started(self, turn: Turn, /) -> None:
        """Do nothing: the line is written at the end of the turn."""

    def turn_ended(self, turn: Turn, /) -> None:
        """Write a line for the turn."""
        usage = turn.usage
        facts: dict[str, Any] = {
            "turn": turn.name,
            "tenant": turn.tenant,
            "service": turn.service,
            "state": turn.state,
            "attempts": len(turn.attempts),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "duration_ms": milliseconds(duration(turn)),
        }
        if turn.attempts:
            last = turn.attempts[-1]
            facts["model"] = f"{last.provider}/{last.model}"
        if (first := time_to_first_token(turn)) is not None:
            facts["first_token_ms"] = milliseconds(first)
        if turn.error is not None:
            facts["reason"] = turn.error.reason
        (self._log.info if turn.state in _INTENDED else self._log.warning)("turn", **facts)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Write a line for each call to a provider that has failed."""
        for attempt in attempts:
            if attempt.error is not None and attempt.outcome is TurnState.FAILED:
                facts: dict[str, Any] = {
                    "service": service,
                    "model": f"{attempt.provider}/{attempt.model}",
                    "duration_ms": milliseconds(attempt.duration),
                    "reason": attempt.error.reason,
                }
                if attempt.error.reason.startswith("PROVIDER_"):
                    # Messages of other reasons may quote a part of the prompt.
                    facts["error"] = attempt.error.message
                self._log.warning("attempt", **facts)


class _LoggedCall:
    """Entered around one call. A class with two methods costs a fifth of a generator under ``asynccontextmanager``."""

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
        if call.code in _FAULTS:
            write = log.error
        else:
            write = log.debug if call.service in _DEBUG_SERVICES else log.info
        facts: dict[str, Any] = {"method": f"{call.service}/{call.method}", "code": call.code}
        if call.reason != call.code:
            facts["reason"] = call.reason
        if call.turn:
            facts["turn"] = call.turn
        facts["duration_ms"] = milliseconds(time.perf_counter_ns() - self._begin)
        facts["tenant"] = call.tenant
        if call.principal.subject:
            facts["subject"] = call.principal.subject
        facts["peer"] = call.peer
        write("call", **facts)
