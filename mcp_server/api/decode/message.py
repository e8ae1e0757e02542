"""Messages and their parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contextprotocol.v1 import message_pb2
from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_MESSAGE_BYTES, MAX_MESSAGES, MAX_PARTS
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

_ROLES: Final = {
    message_pb2.ROLE_SYSTEM: Role.SYSTEM,
    message_pb2.ROLE_USER: Role.USER,
    message_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    message_pb2.ROLE_TOOL: Role.TOOL,
}
_PLACEHOLDER: Final = Text(text="")


def messages(found: Violations, given: Sequence[message_pb2.Message]) -> tuple[Message, ...]:
    """The ``messages`` of a request."""
    if len(given) > MAX_MESSAGES:
        found.add("messages", f"must have 1 to {MAX_MESSAGES} messages, not {len(given)}")
        return ()
    return tuple([_message(found, index, message) for index, message in enumerate(given)])


def _message(found: Violations, index: int, message: message_pb2.Message) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        problem = f"{message.role} is not a value of Role" if message.role else "is required"
        found.add(f"messages[{index}].role", problem)
        role = Role.USER
    if (size := message.ByteSize()) > MAX_MESSAGE_BYTES:
        found.add(f"messages[{index}]", f"must have at most {MAX_MESSAGE_BYTES} bytes, not {size}")
        return Message(role=role)
    if len(message.parts) > MAX_PARTS:
        found.add(f"messages[{index}].parts", f"must have 1 to {MAX_PARTS} parts, not {len(message.parts)}")
        return Message(role=role)
    parts: list[Part] = []
    for number, part in enumerate(message.parts):
        # Most parts are text, and a path is built only for what may need one.
        if part.WhichOneof("part") == "text":
            parts.append(Text(text=part.text, provider_state=_state(part)))
        else:
            parts.append(_part(found, f"messages[{index}].parts[{number}]", part))
    return Message(role=role, parts=tuple(parts), name=message.name)


def _part(found: Violations, field: str, part: message_pb2.Part) -> Part:
    kind, state = part.WhichOneof("part"), _state(part)
    if kind == "reasoning":
        return Reasoning(text=part.reasoning, provider_state=state)
    if kind == "refusal":
        return Refusal(text=part.refusal, provider_state=state)
    if kind == "tool_call":
        call = part.tool_call
        return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json, provider_state=state)
    if kind is None and state is not None:
        return ProviderStatePart(provider_state=state)
    if kind == "tool_result":
        result = part.tool_result
        if state is not None:
            found.add(f"{field}.provider_state", "must only be set in ASSISTANT messages")
        return ToolResult(
            tool_call_id=result.tool_call_id,
            parts=tuple(
                [
                    _piece(found, f"{field}.tool_result.parts[{index}]", piece)
                    for index, piece in enumerate(result.parts)
                ]
            ),
            is_error=result.is_error,
        )
    return _piece(found, field, part)


def _piece(found: Violations, field: str, part: message_pb2.Part) -> Text | Blob:
    """A part that may stand in a tool's result."""
    kind = part.WhichOneof("part")
    if kind == "text":
        return Text(text=part.text, provider_state=_state(part))
    if kind == "blob":
        blob = part.blob
        if blob.WhichOneof("source") is None:
            found.add(f"{field}.blob", "must have data or a uri")
        return Blob(mime_type=blob.mime_type, data=blob.data, uri=blob.uri, provider_state=_state(part))
    found.add(
        field, "must have a part" if kind is None else f"must not be {kind} in a tool result; allowed: text, blob"
    )
    return _PLACEHOLDER


def _state(part: message_pb2.Part) -> ProviderState | None:
    if not part.HasField("provider_state"):
        return None
    state = part.provider_state
    return ProviderState(provider=state.provider, model=state.model, data=state.data)
