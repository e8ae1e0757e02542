"""The line of the log for a call to a provider that failed, written when it fails."""

from __future__ import annotations

from typing import Any

import structlog

from mcp_server import trace_context
from mcp_server.values import Attempt, milliseconds


def attempt_failed(attempt: Attempt, *, service: str, turn: str) -> None:
    """Write the line, without any part of a prompt or an answer.

    Args:
        attempt: the call, which has ended with an error.
        service: ``chat``, ``completion`` or ``embedding``.
        turn: the full name of its turn, or empty.
    """
    assert attempt.error is not None
    facts: dict[str, Any] = {"turn": turn} if turn else {}
    facts |= {
        "service": service,
        "model": f"{attempt.provider}/{attempt.model}",
        "duration_ms": milliseconds(attempt.duration),
        "reason": attempt.error.reason,
    }
    if attempt.error.reason.startswith("PROVIDER_"):
        # Messages of other reasons may quote a part of the prompt.
        facts["error"] = attempt.error.message
    if trace_id := trace_context.trace_id():
        facts["trace_id"] = trace_id
    structlog.get_logger("contextprotocol.attempts").warning("attempt", **facts)
