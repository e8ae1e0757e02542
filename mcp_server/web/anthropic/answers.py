"""Whole answers in the form of Anthropic's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mcp_server.values import (
    Completed,
    FinishReason,
    Message,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    Usage,
)
from mcp_server.web.anthropic.thinking import Thoughts, signature

encode: Final = msgspec.json.Encoder().encode

_STOP_REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}


def answer(completed: Completed, thoughts: Thoughts) -> bytes:
    """The answer to a request.

    Args:
        completed: the end of its turn.
        thoughts: what the caller sees of the model's reasoning.
    """
    message = completed.message
    return encode(
        message_object(
            message.turn,
            message.model,
            blocks(message, thoughts),
            completed.usage,
            end_of(completed),
        )
    )


def message_object(
    turn: str, model: str, content: Sequence[dict[str, Any]], usage: Usage, end: dict[str, Any]
) -> dict[str, Any]:
    """A message. Its id is that of its turn, so that a repeated request gets the same."""
    return {
        "id": f"msg_{turn.rpartition('/')[2]}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **end,
        "usage": {**usage_object(usage), "cache_creation": None, "inference_geo": None, "service_tier": "standard"},
    }


def blocks(message: Message, thoughts: Thoughts) -> list[dict[str, Any]]:
    """The content of an answer."""
    found: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            found.append(text_block(part.text))
        elif isinstance(part, ToolCall):
            found.append(tool_block(part.id, part.name, _input(part.arguments_json)))
        elif thoughts is Thoughts.HIDDEN:
            continue
        elif isinstance(part, Reasoning):
            text = part.text if thoughts is Thoughts.SHOWN else ""
            found.append(thinking_block(text, signature(part.provider_state)))
        elif isinstance(part, ProviderStatePart):
            found.append(redacted_block(signature(part.provider_state)))
    return found


def text_block(text: str) -> dict[str, Any]:
    """Text. The empty list and not ``null``, which the schema allows too, because the AI SDK refuses it."""
    return {"type": "text", "text": text, "citations": []}


def tool_block(id: str, name: str, input: Any) -> dict[str, Any]:
    """A tool call."""
    return {"type": "tool_use", "id": id, "name": name, "input": input, "caller": {"type": "direct"}}


def thinking_block(text: str, signature: str) -> dict[str, Any]:
    """Reasoning, and what the provider needs to receive back with it."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted_block(data: str) -> dict[str, Any]:
    """Reasoning that the provider hides."""
    return {"type": "redacted_thinking", "data": data}


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _input(text: str) -> Any:
    """The arguments of a call as an object. The caller can see there what the model wrote instead of one."""
    if is_object(text):
        return msgspec.Raw(text.encode())
    return {"invalid_arguments": text} if text.strip() else {}


NO_END: Final = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "container": None}
"""Of an answer that has not ended."""


def end_of(completed: Completed) -> dict[str, Any]:
    """Why an answer ended. Stop sequences count as an end of the model's own: providers do not tell the two apart."""
    reason = _STOP_REASONS[completed.finish_reason]
    parts = completed.message.parts
    if completed.finish_reason is FinishReason.STOP and any(isinstance(part, Refusal) for part in parts):
        reason = "refusal"
    return {**NO_END, "stop_reason": reason}


def usage_object(usage: Usage) -> dict[str, Any]:
    """The token counts. Each token of the prompt counts once here."""
    cached = usage.cached_input_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(usage.input_tokens - cached, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
    }
