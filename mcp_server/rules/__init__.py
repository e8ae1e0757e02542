"""What a valid request is, on any edge: rules over our own values.

Each function adds what it finds to :class:`Violations`, under the field's path in the contract. The gateway applies the
rules, whoever calls, and raises what they found together with what the edge could not convert (:func:`refuse`).
"""

from mcp_server.rules.context import check_context, context_field
from mcp_server.rules.embedding import embedding
from mcp_server.rules.grants import check_grant
from mcp_server.rules.key import KEY_FIELDS, key_draft, key_update, tenant_name
from mcp_server.rules.message import chat_messages, messages
from mcp_server.rules.primitives import expected_etag, model_name, request_id, whole
from mcp_server.rules.session import SESSION_FIELDS, instruction, labels, session_draft, session_id, session_update
from mcp_server.rules.tool import tool_choice, tools
from mcp_server.rules.tool_results import check_cut, check_tool_results, open_calls
from mcp_server.rules.turn import completion, turn
from mcp_server.rules.usage import usage_query
from mcp_server.rules.violations import Violations, refuse, shown

__all__ = [
    "KEY_FIELDS",
    "SESSION_FIELDS",
    "Violations",
    "chat_messages",
    "check_context",
    "check_cut",
    "check_grant",
    "check_tool_results",
    "completion",
    "context_field",
    "embedding",
    "expected_etag",
    "instruction",
    "key_draft",
    "key_update",
    "labels",
    "messages",
    "model_name",
    "open_calls",
    "refuse",
    "request_id",
    "session_draft",
    "session_id",
    "session_update",
    "shown",
    "tenant_name",
    "tool_choice",
    "tools",
    "turn",
    "usage_query",
    "whole",
]
