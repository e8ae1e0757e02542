"""Resource names and idempotency keys of requests."""

from __future__ import annotations

import secrets
from typing import Any, Final

from mcp_client._core.arguments import argument
from mcp_client.values import Session, Turn

_RANDOM_KEY: Final = "auto-"
"""The prefix of generated keys, which no other caller can know."""


def set_request_id(request: Any, request_id: str | None) -> None:
    """Set the idempotency key of a request: the caller's, or a random one."""
    with argument("request_id"):
        request.request_id = request_id or f"{_RANDOM_KEY}{secrets.token_hex(16)}"


def may_be_shared(request: Any) -> bool:
    """Whether another caller may wait for the same turn because the caller chose the key."""
    return not request.request_id.startswith(_RANDOM_KEY)


def session_name(session: str | Session) -> str:
    """``sessions/{id}``, from an id, a full name or a session."""
    if isinstance(session, Session):
        return session.name
    with argument("session"):
        if not isinstance(session, str):
            raise TypeError(f"expected the id or full name of a session, or a Session, not {type(session).__name__}")
        session.encode()
    return session if session.startswith("sessions/") else f"sessions/{session}"


def turn_name(turn: str | Turn) -> str:
    """The full name of a turn."""
    if isinstance(turn, Turn):
        return turn.name
    with argument("turn"):
        if not isinstance(turn, str):
            raise TypeError(f"expected the full name of a turn, or a Turn, not {type(turn).__name__}")
        turn.encode()
    return turn
