"""What a valid conversation is: its messages and their parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.rules.limits import (
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_NAME,
    MAX_MESSAGES,
    MAX_MIME_TYPE,
    MAX_MODEL_NAME,
    MAX_PARTS,
    MAX_PROVIDER_NAME,
    MAX_STATE_BYTES,
    MAX_TOOL_CALL_ID,
    MAX_URI_BYTES,
)
from mcp_server.rules.primitives import characters, not_empty, utf8_bytes
from mcp_server.rules.violations import Violations
from mcp_server.values import (
    Blob,
    Message,
    Part,
    ProviderState,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_KINDS: Final[dict[type, str]] = {
    Text: "text",
    Reasoning: "reasoning",
    Refusal: "refusal",
    Blob: "blob",
    ToolCall: "tool_call",
    ToolResult: "tool_result",
    ProviderStatePart: "provider_state alone",
}
_KINDS_OF_ROLE: Final[dict[Role, tuple[type, ...]]] = {
    Role.SYSTEM: (Text,),
    Role.USER: (Text, Blob),
    Role.ASSISTANT: (Text, Reasoning, Refusal, Blob, ToolCall, ProviderStatePart),
    Role.TOOL: (ToolResult,),
}
_PART_BYTES: Final = 4
"""The least that a part has on the wire besides its strings and data."""


def messages(found: Violations, conversation: Sequence[Message], *, in_session: bool) -> None:
    """The messages of a request. SYSTEM messages are allowed only outside a session, which has a system instruction.

    Field paths are built only for what is wrong: most messages are right.
    """
    if not 1 <= len(conversation) <= MAX_MESSAGES:
        found.add("messages", f"must have 1 to {MAX_MESSAGES} messages, not {len(conversation)}")
        return
    for index, message in enumerate(conversation):
        role, parts = message.role, message.parts
        if role is Role.SYSTEM and in_session:
            found.add(
                f"messages[{index}].role",
                "must not be SYSTEM in a session: set the session's system_instruction instead",
            )
        if not 1 <= len(parts) <= MAX_PARTS:
            found.add(f"messages[{index}].parts", f"must have 1 to {MAX_PARTS} parts, not {len(parts)}")
            continue
        size = len(message.name)
        if size > MAX_MESSAGE_NAME:
            characters(found, f"messages[{index}].name", message.name, MAX_MESSAGE_NAME)
        for number, part in enumerate(parts):
            if type(part) is Text and part.text and role is not Role.TOOL and part.provider_state is None:
                size += _PART_BYTES + len(part.text)
            else:
                _part(found, f"messages[{index}].parts[{number}]", part, role)
                size += _part_bytes(part)
        # What is short in characters is short in bytes.
        if size * 4 > MAX_MESSAGE_BYTES and (exact := sum([_part_bytes(part) for part in parts])) > MAX_MESSAGE_BYTES:
            found.add(f"messages[{index}]", f"must have at most {MAX_MESSAGE_BYTES} bytes, not {exact}")


def chat_messages(found: Violations, conversation: Sequence[Message], *, in_session: bool) -> None:
    """The messages of a chat: the model answers the last one, so it must come from the user or a tool."""
    messages(found, conversation, in_session=in_session)
    if conversation and conversation[-1].role not in (Role.USER, Role.TOOL):
        found.add(f"messages[{len(conversation) - 1}].role", "must be USER or TOOL in the last message")


def _part(found: Violations, field: str, part: Part, role: Role) -> None:
    if type(part) not in _KINDS_OF_ROLE[role]:
        allowed = ", ".join([_KINDS[kind] for kind in _KINDS_OF_ROLE[role]])
        found.add(field, f"must not be {_KINDS[type(part)]} in a {role.name} message; allowed: {allowed}")
    if (state := _state_of(part)) is not None:
        _provider_state(found, f"{field}.provider_state", state, role)
    if isinstance(part, Text):
        if role is not Role.ASSISTANT:
            not_empty(found, f"{field}.text", part.text)
    elif isinstance(part, Blob):
        _blob(found, f"{field}.blob", part)
    elif isinstance(part, ToolCall):
        characters(found, f"{field}.tool_call.id", part.id, MAX_TOOL_CALL_ID)
        characters(found, f"{field}.tool_call.name", part.name, MAX_TOOL_CALL_ID)
    elif isinstance(part, ToolResult):
        characters(found, f"{field}.tool_result.tool_call_id", part.tool_call_id, MAX_TOOL_CALL_ID)
        for index, piece in enumerate(part.parts):
            where = f"{field}.tool_result.parts[{index}]"
            if piece.provider_state is not None:
                _provider_state(found, f"{where}.provider_state", piece.provider_state, role)
            if isinstance(piece, Text):
                not_empty(found, f"{where}.text", piece.text)
            else:
                _blob(found, f"{where}.blob", piece)


def _state_of(part: Part) -> ProviderState | None:
    return None if isinstance(part, ToolResult) else part.provider_state


def _provider_state(found: Violations, field: str, state: ProviderState, role: Role) -> None:
    if role is not Role.ASSISTANT:
        found.add(field, "must only be set in ASSISTANT messages")
    not_empty(found, f"{field}.provider", state.provider)
    characters(found, f"{field}.provider", state.provider, MAX_PROVIDER_NAME)
    characters(found, f"{field}.model", state.model, MAX_MODEL_NAME)
    if not 1 <= len(state.data) <= MAX_STATE_BYTES:
        found.add(f"{field}.data", f"must have 1 to {MAX_STATE_BYTES} bytes, not {len(state.data)}")


def _blob(found: Violations, field: str, blob: Blob) -> None:
    mime_type(found, f"{field}.mime_type", blob.mime_type)
    if blob.data and blob.uri:
        found.add(field, "must have either data or a uri, not both")
    if blob.uri:
        utf8_bytes(found, f"{field}.uri", blob.uri, MAX_URI_BYTES)
        if not blob.uri.startswith(("https://", "data:")):
            found.add(f"{field}.uri", "must begin with https:// or data:")


def mime_type(found: Violations, field: str, name: str) -> bool:
    """The MIME type of something that is not text; return whether it is one."""
    if len(name) > MAX_MIME_TYPE:
        characters(found, field, name, MAX_MIME_TYPE)
        return False
    if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
        found.add(field, "must be a MIME type such as image/png")
        return False
    return True


def _part_bytes(part: Part) -> int:
    """The size of a part, never more than it has on the wire."""
    state = _state_of(part)
    size = 0 if state is None else _PART_BYTES + len(state.data)
    return size + _content_bytes(part)


def _content_bytes(part: Part) -> int:
    if isinstance(part, ProviderStatePart):
        return 0
    if isinstance(part, Text | Reasoning | Refusal):
        return _PART_BYTES + len(part.text.encode())
    if isinstance(part, Blob):
        return _PART_BYTES + len(part.mime_type) + len(part.data) + len(part.uri.encode())
    if isinstance(part, ToolCall):
        return _PART_BYTES + len(part.id.encode()) + len(part.name.encode()) + len(part.arguments_json.encode())
    return _PART_BYTES + len(part.tool_call_id.encode()) + sum([_part_bytes(piece) for piece in part.parts])
