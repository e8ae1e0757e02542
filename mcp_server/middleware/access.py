"""The access log: one line for each call and one for each turn, without any prompt or answer unless switched on."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

import structlog

from mcp_server import trace_context
from mcp_server.interfaces import Call
from mcp_server.middleware.content import shown
from mcp_server.middleware.durations import duration, time_to_first_token
from mcp_server.values import Attempt, Message, Turn, TurnState, milliseconds

_DEBUG_SERVICES: Final = frozenset({"grpc.health.v1.Health"})
"""Services that machines call all day: their lines have the level ``debug``."""
_FAULTS: Final = frozenset({"INTERNAL", "UNKNOWN"})
"""Status codes of calls that ended by a fault of the server: their lines have the level ``error``."""
_INTENDED: Final = frozenset({TurnState.SUCCEEDED, TurnState.CANCELLED})
"""States of turns whose lines have the level ``info``; those of the others have the level ``warning``."""
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


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
        if turn.key:
            facts["key"] = turn.key
        if turn.labels:
            facts["labels"] = dict(turn.labels)
        if trace_id := trace_context.trace_id():
            facts["trace_id"] = trace_id
        (self._log.info if turn.state in _INTENDED else self._log.warning)("turn", **facts)

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Add what an embedding request took to the line of its call: it is no turn."""
        call = _current.get()
        if service == "embedding" and call is not None and attempts:
            last = attempts[-1]
            call.facts["model"] = f"{last.provider}/{last.model}"
            call.facts["attempts"] = len(attempts)
            call.facts["input_tokens"] = sum(attempt.usage.input_tokens for attempt in attempts)

    def turn_content(self, turn: Turn, input: Sequence[Message], answer: Message | None, /) -> None:
        """Write a line with what was asked and answered; called only if the settings allow it."""
        self._log.info("content", turn=turn.name, input=shown(input), output=shown([answer] if answer else []))


class _LoggedCall:
    """Entered around one call. A class with two methods costs a fifth of a generator under ``asynccontextmanager``."""

    __slots__ = ("_begin", "_call", "_entered", "_log", "facts")

    def __init__(self, log: structlog.typing.FilteringBoundLogger, call: Call) -> None:
        self._log = log
        self._call = call
        self._begin = 0
        self.facts: dict[str, Any] = {}
        """Further facts for its line."""

    async def __aenter__(self) -> None:
        self._entered = _current.set(self)
        self._begin = time.perf_counter_ns()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call, log = self._call, self._log
        _current.reset(self._entered)
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
        facts |= self.facts
        facts["tenant"] = call.tenant
        if call.principal.key:
            facts["key"] = call.principal.key
        if call.principal.subject:
            facts["subject"] = call.principal.subject
        facts["peer"] = call.peer
        if trace_id := trace_context.trace_id() or _trace_id_of(call):
            facts["trace_id"] = trace_id
        write("call", **facts)


def _trace_id_of(call: Call) -> str:
    """The trace of the caller, where the server itself makes none."""
    match = _TRACEPARENT.match(call.metadata.get("traceparent", ""))
    return "" if match is None else match[1]


_current: ContextVar[_LoggedCall | None] = ContextVar("logged call", default=None)
"""The call that is carried out."""
