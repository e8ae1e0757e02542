"""Converts LangChain's messages and tools to those of a server."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from mcp_client import (
    Blob,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "image": "image/*",
    "audio": "audio/*",
    "video": "video/*",
    "file": "application/octet-stream",
}
"""LangChain's blocks of media, with the MIME type of those that state none."""

_ROLES: Final = ((HumanMessage, Role.USER), (SystemMessage, Role.SYSTEM), (AIMessage, Role.ASSISTANT))
_CALLS: Final = ("invalid_tool_call", "tool_use", "function_call")
"""Blocks of tool calls in vendors' own forms, or malformed ones. The message repeats their content in its fields."""
_CHOICES: Final[Mapping[str | bool, str]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "required": "required",
    True: "required",
    False: "none",
}


def new_messages(messages: Sequence[BaseMessage], session: str) -> list[Message]:
    """The messages of a conversation that the server has to be sent.

    Args:
        messages: the whole conversation, or its new messages.
        session: the full name of the session that stores the conversation, or empty. The messages up to the last answer
            of the session are not sent again.

    Raises:
        TypeError, ValueError: a message cannot be sent.
    """
    first = 0
    if session:
        turns = [str(message.response_metadata.get("turn", "")).rpartition("/turns/")[0] for message in messages]
        first = max((index + 1 for index, name in enumerate(turns) if name == session), default=0)
        if first == len(messages):
            raise ValueError(f"there is no new message for {session}: the last one is its own answer")
    converted = []
    for index, message in enumerate(messages[first:], first):
        try:
            converted.append(_message(message))
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"messages[{index}]: {error}") from error
    return converted


def tools(values: Sequence[Any]) -> list[Tool]:
    """Tools in any of LangChain's forms.

    Raises:
        TypeError, ValueError: a tool cannot be described.
    """
    result = []
    for tool in values:
        described = convert_to_openai_tool(tool)
        if "function" not in described:
            raise ValueError(f"a tool {described.get('type')!r} runs at its provider; only functions are supported")
        function = described["function"]
        result.append(
            Tool(
                name=function["name"],
                description=function.get("description", ""),
                parameters=function.get("parameters") or "",
            )
        )
    return result


def tool_choice(value: Any) -> ToolChoice:
    """A tool choice from ``"auto"``, ``"none"``, ``"any"``, the name of a tool, or OpenAI's form.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(value, Mapping):
        function = value.get("function")
        value = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(value, str | bool) or value == "":
        raise ValueError('tool_choice: expected "auto", "none", "any", the name of a tool, or a dict with one')
    if mode := _CHOICES.get(value):
        return ToolChoice(mode=mode)
    return ToolChoice(mode="required", name=str(value))


def response_format(value: Mapping[str, Any]) -> dict[str, Any]:
    """The turn option for a response format in OpenAI's form.

    Raises:
        ValueError: it is not in that form.
    """
    if value.get("type") == "json_object":
        return {"json": True}
    named = value.get("json_schema")
    if value.get("type") == "json_schema" and isinstance(named, Mapping) and "schema" in named:
        return {"json_schema": named["schema"]}
    raise ValueError('response_format: expected {"type": "json_object"} or {"type": "json_schema", "json_schema": …}')


def _message(message: BaseMessage) -> Message:
    if isinstance(message, ToolMessage):
        return Message.tool(_tool_result(message))
    if isinstance(message, ChatMessage):
        role = Role(message.role)
    else:
        role = next((role for kind, role in _ROLES if isinstance(message, kind)), Role.UNKNOWN)
    if role in (Role.UNKNOWN, Role.TOOL):
        raise TypeError(f"a {type(message).__name__} with the role {role.value!r} cannot be sent")
    parts = _parts(message)
    if isinstance(message, AIMessage):
        if refusal := message.additional_kwargs.get("refusal"):
            parts.append(Refusal(text=refusal))
        # Calls with malformed arguments are not among the blocks.
        for call in message.invalid_tool_calls:
            parts.append(ToolCall(id=call["id"] or "", name=call["name"] or "", arguments_json=call["args"] or "{}"))
    return Message(role=role, parts=parts or [Text(text="")], name=message.name or "")


def _tool_result(message: ToolMessage) -> ToolResult:
    parts = [part for part in _parts(message) if isinstance(part, Text | Blob)]
    return ToolResult(tool_call_id=message.tool_call_id, parts=parts, is_error=message.status == "error")


def _parts(message: BaseMessage) -> list[Part]:
    return [part for block in message.content_blocks if (part := _part(block)) is not None]


def _part(block: Mapping[str, Any]) -> Part | None:
    """A block in LangChain's standard form; ``None`` if there is nothing to send."""
    kind = block["type"]
    if kind == "text":
        return Text(text=block["text"]) if block["text"] else None
    if kind == "text-plain" and "text" in block:
        return Text(text=block["text"])
    if kind == "reasoning":
        return Reasoning(text=block["reasoning"]) if block.get("reasoning") else None
    if kind == "tool_call":
        arguments = json.dumps(block["args"], ensure_ascii=False)
        return ToolCall(id=block["id"] or "", name=block["name"], arguments_json=arguments)
    if kind in MEDIA_TYPES:
        return _blob(block)
    if kind == "non_standard":
        kind = block["value"].get("type", "without a type")
    if kind in _CALLS:
        return None
    raise ValueError(f"a block {kind!r} cannot be sent; allowed: text, reasoning, {', '.join(MEDIA_TYPES)}")


def _blob(block: Mapping[str, Any]) -> Blob:
    mime_type = block.get("mime_type") or mimetypes.guess_type(block.get("url", ""))[0] or MEDIA_TYPES[block["type"]]
    if "base64" in block:
        try:
            return Blob(mime_type=mime_type, data=base64.b64decode(block["base64"], validate=True))
        except ValueError as error:
            raise ValueError(f"the block {block['type']!r} is not valid base64: {error}") from None
    if "url" in block:
        return Blob(mime_type=mime_type, uri=block["url"])
    raise ValueError(
        f"the block {block['type']!r} has neither `base64` nor `url`: files stored at a provider cannot be sent"
    )
