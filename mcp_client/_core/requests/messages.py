"""Encodes messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from contextprotocol.v1 import message_pb2
from mcp_client._core.arguments import argument
from mcp_client._core.requests import openai_messages
from mcp_client.values import (
    Blob,
    Message,
    Part,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

Input = str | Message | Mapping[str, Any] | Sequence[str | Message | Mapping[str, Any]]
"""New messages: a text, a message, or a sequence of them. A text is a USER message; a dict is a message in OpenAI's
form, for example ``{"role": "user", "content": "Hello!"}``."""

_ROLES: Final = {
    Role.SYSTEM: message_pb2.ROLE_SYSTEM,
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}


def as_messages(value: Input) -> list[Message]:
    """The messages of an input."""
    if isinstance(value, str | Message | Mapping):
        return [_as_message(value, "messages")]
    with argument("messages"):
        if isinstance(value, Set | bytes | bytearray):
            raise TypeError(f"expected a text, a Message, a dict or a sequence of them, not {type(value).__name__}")
        several = list(value)
    return [_as_message(item, f"messages[{number}]") for number, item in enumerate(several)]


def _as_message(value: str | Message | Mapping[str, Any], where: str) -> Message:
    if isinstance(value, Message):
        return value
    if isinstance(value, str):
        return Message.user(value)
    if isinstance(value, Mapping):
        return openai_messages.message(value, where)
    raise TypeError(f"{where}: expected a text, a Message or a dict, not {type(value).__name__}")


def messages(value: Input) -> list[message_pb2.Message]:
    """The encoded messages of an input."""
    several = as_messages(value)
    with argument("messages"):
        return [_message(item) for item in several]


def _message(message: Message) -> message_pb2.Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise ValueError(f"{message.role!r} is not a role that can be sent; expected one of {', '.join(_ROLES)}")
    parts = [_part(part) for part in message.parts]
    return message_pb2.Message(role=role, parts=parts, name=message.name)


def _part(part: Part) -> message_pb2.Part:
    encoded = _content(part)
    state = None if isinstance(part, ToolResult) else part.provider_state
    if state is not None:
        encoded.provider_state.CopyFrom(
            message_pb2.ProviderState(provider=state.provider, model=state.model, data=state.data)
        )
    return encoded


def _content(part: Part) -> message_pb2.Part:
    if isinstance(part, Text):
        return message_pb2.Part(text=part.text)
    if isinstance(part, Reasoning):
        return message_pb2.Part(reasoning=part.text)
    if isinstance(part, Refusal):
        return message_pb2.Part(refusal=part.text)
    if isinstance(part, Blob):
        if part.uri and part.data:
            raise ValueError("a Blob has either `data` or `uri`, not both")
        if part.uri:
            return message_pb2.Part(blob=message_pb2.Blob(mime_type=part.mime_type, uri=part.uri))
        return message_pb2.Part(blob=message_pb2.Blob(mime_type=part.mime_type, data=part.data))
    if isinstance(part, ToolCall):
        call = message_pb2.ToolCall(id=part.id, name=part.name, arguments_json=part.arguments_json)
        return message_pb2.Part(tool_call=call)
    if isinstance(part, ToolResult):
        pieces = [_part(piece) for piece in part.parts]
        result = message_pb2.ToolResult(tool_call_id=part.tool_call_id, parts=pieces, is_error=part.is_error)
        return message_pb2.Part(tool_result=result)
    if isinstance(part, ProviderStatePart):
        return message_pb2.Part()
    raise TypeError(f"{type(part).__name__} is not a part of a message")
