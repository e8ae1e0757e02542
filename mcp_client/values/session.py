"""Sessions and their context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """A named entry of a session's context: one of ``text``, ``data`` and, for the type ``json``, ``json``."""

    type: str = "text"
    """``text``, ``json``, ``document``, or a type that a plug-in of the server defines."""
    text: str | None = None
    json: Any = None
    """Any JSON value."""
    data: bytes | None = None
    mime_type: str = ""
    """The type of ``data``."""
    stored_only: bool = False
    """Whether the entry is only stored, and not shown to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation that the server stores."""

    name: str
    """``sessions/{id}``."""
    uid: str
    create_time: datetime
    update_time: datetime
    etag: str
    """Changes with every change of the session."""
    ttl: float | None
    """How long an unused session is kept, in seconds; ``None``: without limit."""
    expire_time: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Empty in lists of sessions."""
    system_instruction: str = ""
    default_model: str = ""
    context: Mapping[str, ContextEntry] = field(default_factory=dict)
    """Empty in lists of sessions."""
    message_count: int = 0
    active_turn: str = ""
    """The full name of the running turn, or empty."""
    parent: str = ""
    """The session that this one was forked from, or empty."""

    @property
    def id(self) -> str:
        """The last segment of ``name``."""
        return self.name.removeprefix("sessions/")
