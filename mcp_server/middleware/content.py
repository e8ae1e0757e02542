"""What was asked and answered, as log lines and spans show it where that is switched on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from mcp_server.values import Blob, Message, Reasoning, Refusal, Text, ToolCall, ToolResult

MAX_CHARACTERS: Final = 64 * 1024
"""How much of one text is shown."""

Shown = list[dict[str, Any]]


def shown(messages: Sequence[Message]) -> Shown:
    """Messages in the form of OpenTelemetry's ``gen_ai.input.messages``, long texts cut and bytes left out."""
    return [_shown(message) for message in messages]


def as_json(messages: Shown) -> str:
    """The same as JSON text, which the attributes of spans hold."""
    return msgspec.json.encode(messages).decode()


def _shown(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role.value, "parts": list(_parts(message))}
    if message.finish_reason is not None:
        found["finish_reason"] = message.finish_reason.value
    return found


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if isinstance(part, Text | Reasoning | Refusal):
            yield {"type": type(part).__name__.lower(), "content": _cut(part.text)}
        elif isinstance(part, ToolCall):
            arguments = _cut(part.arguments_json)
            yield {"type": "tool_call", "id": part.id, "name": part.name, "arguments": arguments}
        elif isinstance(part, ToolResult):
            text = "".join([each.text for each in part.parts if isinstance(each, Text)])
            yield {"type": "tool_call_response", "id": part.tool_call_id, "response": _cut(text)}
        elif isinstance(part, Blob):
            yield {"type": "blob", "mime_type": part.mime_type}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
