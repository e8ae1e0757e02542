"""What happens to sessions that are watched."""

from __future__ import annotations

from typing import Final

from contextprotocol.v1 import session_pb2, turn_pb2
from mcp_server.api.encode.session import session
from mcp_server.api.encode.turn import turn
from mcp_server.values import (
    MessagesAppended,
    SessionCurrent,
    SessionDeleted,
    SessionEvent,
    SessionRewound,
    SessionUpdated,
    TurnChanged,
    TurnState,
)

_TURN_FIELDS: Final = {TurnState.QUEUED: "turn_queued", TurnState.RUNNING: "turn_started"}


def session_event(etag: str, event: SessionEvent) -> session_pb2.SessionEvent:
    """An event of a session that has that etag afterwards."""
    result = session_pb2.SessionEvent(etag=etag)
    if isinstance(event, SessionCurrent):
        result.current.session.CopyFrom(session(event.session, brief=event.brief))
        result.current.turns.extend([turn(each, brief=True) for each in event.turns])
    elif isinstance(event, TurnChanged):
        getattr(result, _TURN_FIELDS.get(event.turn.state, "turn_ended")).CopyFrom(turn(event.turn, brief=True))
    elif isinstance(event, MessagesAppended):
        result.messages_appended.CopyFrom(
            session_pb2.MessagesAppended(
                first_index=event.first_index, message_count=event.message_count, turn=event.turn
            )
        )
    elif isinstance(event, SessionRewound):
        result.rewound.CopyFrom(session_pb2.SessionRewound(message_count=event.message_count))
    elif isinstance(event, SessionUpdated):
        result.updated.CopyFrom(session(event.session))
    elif isinstance(event, SessionDeleted):
        result.deleted.SetInParent()
    else:
        result.heartbeat.CopyFrom(turn_pb2.Heartbeat())
    return result
