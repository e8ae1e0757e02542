"""From our own values to messages on the wire."""

from mcp_server.api.encode.embedding import embed_response
from mcp_server.api.encode.key import key, limit_state
from mcp_server.api.encode.message import message
from mcp_server.api.encode.model import model
from mcp_server.api.encode.session import session
from mcp_server.api.encode.session_event import session_event
from mcp_server.api.encode.turn import turn, turn_completed, turn_event
from mcp_server.api.encode.usage import usage_row

__all__ = [
    "embed_response",
    "key",
    "limit_state",
    "message",
    "model",
    "session",
    "session_event",
    "turn",
    "turn_completed",
    "turn_event",
    "usage_row",
]
