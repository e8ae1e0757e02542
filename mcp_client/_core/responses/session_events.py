"""Decodes what happens to a session."""

from __future__ import annotations

from contextprotocol.v1 import session_pb2
from mcp_client._core.responses.sessions import session
from mcp_client._core.responses.turns import turn
from mcp_client.values import (
    MessagesAppended,
    SessionCurrent,
    SessionDeleted,
    SessionEvent,
    SessionRewound,
    SessionUpdated,
    TurnChanged,
)


def session_event(value: session_pb2.SessionEvent) -> SessionEvent | None:
    """An event of a session; ``None`` for a heartbeat, and if this version of the client does not know its kind."""
    kind, etag = value.WhichOneof("event"), value.etag
    if kind == "current":
        turns = tuple([turn(each) for each in value.current.turns])
        return SessionCurrent(etag=etag, session=session(value.current.session), turns=turns)
    if kind in ("turn_queued", "turn_started", "turn_ended"):
        return TurnChanged(etag=etag, turn=turn(getattr(value, kind)))
    if kind == "messages_appended":
        added = value.messages_appended
        return MessagesAppended(
            etag=etag, first_index=added.first_index, message_count=added.message_count, turn=added.turn
        )
    if kind == "rewound":
        return SessionRewound(etag=etag, message_count=value.rewound.message_count)
    if kind == "updated":
        return SessionUpdated(etag=etag, session=session(value.updated))
    if kind == "deleted":
        return SessionDeleted()
    return None
