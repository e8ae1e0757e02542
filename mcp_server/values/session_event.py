"""The events of a session that is watched."""

from __future__ import annotations

from mcp_server.values.base import Struct
from mcp_server.values.event import Heartbeat
from mcp_server.values.session import MCPSession
from mcp_server.values.turn import Turn


class SessionCurrent(Struct):
    """The current state of a session: the first event, and whenever others were lost."""

    session: MCPSession
    """The session."""
    turns: tuple[Turn, ...] = ()
    """Its turns that are queued or running, in the order in which they were accepted, their messages without parts."""
    brief: bool = False
    """Whether the reader has its context and metadata already."""


class TurnChanged(Struct):
    """A turn waits for the session, has started, or has ended."""

    turn: Turn
    """The turn, its message without parts. Its ``state`` says which of the three."""


class MessagesAppended(Struct):
    """Messages were added to the end of the history."""

    first_index: int
    """The index of the first of them."""
    message_count: int
    """The number of messages in the history now."""
    turn: str = ""
    """The full name of the turn that added them; empty if they were appended."""


class SessionRewound(Struct):
    """Messages were removed from the end of the history."""

    message_count: int
    """The number of messages in the history now."""


class SessionUpdated(Struct):
    """The content of the session other than its history has changed."""

    session: MCPSession
    """The session as it is now."""


class SessionDeleted(Struct):
    """The session was deleted, or has expired: the last event."""


SessionEvent = (
    SessionCurrent | TurnChanged | MessagesAppended | SessionRewound | SessionUpdated | SessionDeleted | Heartbeat
)
