"""Decodes messages."""

from __future__ import annotations

from typing import Final

from contextprotocol.v1 import message_pb2
from mcp_client._core.responses.scalars import time
from mcp_client.values import (
    Blob,
    FinishReason,
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
    Usage,
)

_ROLES: Final = {
    message_pb2.ROLE_SYSTEM: Role.SYSTEM,
    message_pb2.ROLE_USER: Role.USER,
    message_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    message_pb2.ROLE_TOOL: Role.TOOL,
}
_FINISH_REASONS: Final = {
    message_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    message_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    message_pb2.FINISH_REASON_TOOL_CALLS: FinishReason.TOOL_CALLS,
    message_pb2.FINISH_REASON_CONTENT_FILTER: FinishReason.CONTENT_FILTER,
}


def message(value: message_pb2.Message) -> Message:
    """A message. Parts that this version of the client does not know are omitted."""
    return Message(
        role=_ROLES.get(value.role, Role.UNKNOWN),
        parts=tuple([part for part in map(_part, value.parts) if part is not None]),
        name=value.name,
        index=value.index,
        id=value.id,
        create_time=time(value.create_time) if value.HasField("create_time") else None,
        turn=value.turn,
        model=value.model,
        finish_reason=finish_reason(value.finish_reason) if value.finish_reason else None,
        usage=usage(value.usage) if value.HasField("usage") else None,
    )


def finish_reason(value: int) -> FinishReason:
    """Why the model stopped."""
    return _FINISH_REASONS.get(value, FinishReason.UNKNOWN)  # type: ignore[call-overload, no-any-return]  # an open enum


def usage(value: message_pb2.Usage) -> Usage:
    """Token counts."""
    return Usage(
        input_tokens=value.input_tokens,
        cached_input_tokens=value.cached_input_tokens,
        cache_write_tokens=value.cache_write_tokens,
        output_tokens=value.output_tokens,
        reasoning_tokens=value.reasoning_tokens,
        estimated=value.source == message_pb2.Usage.SOURCE_ESTIMATED,
    )


def provider_state(value: message_pb2.ProviderState) -> ProviderState:
    """What a provider needs to receive back."""
    return ProviderState(provider=value.provider, model=value.model, data=value.data)


def _part(value: message_pb2.Part) -> Part | None:
    kind = value.WhichOneof("part")
    state = provider_state(value.provider_state) if value.HasField("provider_state") else None
    if kind == "text":
        return Text(text=value.text, provider_state=state)
    if kind == "reasoning":
        return Reasoning(text=value.reasoning, provider_state=state)
    if kind == "refusal":
        return Refusal(text=value.refusal, provider_state=state)
    if kind == "blob":
        blob = value.blob
        return Blob(mime_type=blob.mime_type, data=blob.data, uri=blob.uri, provider_state=state)
    if kind == "tool_call":
        call = value.tool_call
        return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json, provider_state=state)
    if kind == "tool_result":
        result = value.tool_result
        pieces = [piece for piece in map(_part, result.parts) if isinstance(piece, Text | Blob)]
        return ToolResult(tool_call_id=result.tool_call_id, parts=tuple(pieces), is_error=result.is_error)
    return ProviderStatePart(provider_state=state) if kind is None and state is not None else None
