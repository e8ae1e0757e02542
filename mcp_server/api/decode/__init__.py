"""From requests on the wire to our own values.

A decoder reports only what our values cannot hold: unknown enum numbers, unset oneofs, malformed resource names, JSON
numbers that are not finite, and what is too large to be converted at all. It then puts a placeholder where the value
would stand. Everything else is judged by :mod:`mcp_server.rules`, which the gateway applies.
"""

from mcp_server.api.decode.embedding import embed_input
from mcp_server.api.decode.key import key_draft, key_update
from mcp_server.api.decode.message import messages
from mcp_server.api.decode.name import key_name, model_name, session_name, turn_name
from mcp_server.api.decode.session import labels, session_draft, session_update
from mcp_server.api.decode.turn import chat_input, completion_input, count_input
from mcp_server.api.decode.usage import usage_filter, usage_groups

__all__ = [
    "chat_input",
    "completion_input",
    "count_input",
    "embed_input",
    "key_draft",
    "key_name",
    "key_update",
    "labels",
    "messages",
    "model_name",
    "session_draft",
    "session_name",
    "session_update",
    "turn_name",
    "usage_filter",
    "usage_groups",
]
