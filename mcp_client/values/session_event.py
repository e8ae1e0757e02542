"""The events of a session that is watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_client.values.session import Session
from mcp_client.values.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCurrent:
    """The current state of the session: the first event, and the first after a lost connection."""

    etag: str
    session: Session
    turns: Sequence[Turn] = ()
    """The turns that wait or run, in the order in which the server accepted them, without their messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnChanged:
    """A turn waits for the session, has started, or has ended: its ``state`` says which."""

    etag: str
    turn: Turn
    """Without its message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesAppended:
    """Messages were added to the end of the history."""

    etag: str
    first_index: int
    """The index of the first of them."""
    message_count: int
    """The number of messages in the history now."""
    turn: str
    """The full name of the turn that added them; empty if they were appended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRewound:
    """Messages were removed from the end of the history."""

    etag: str
    message_count: int
    """The number of messages in the history now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUpdated:
    """The content of the session other than its history has changed."""

    etag: str
    session: Session
    """The session as it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDeleted:
    """The session was deleted, or has expired: the last event."""


SessionEvent = SessionCurrent | TurnChanged | MessagesAppended | SessionRewound | SessionUpdated | SessionDeleted
"""An event of a session. ``etag``: the etag of the session after it."""
