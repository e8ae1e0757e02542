"""Messages, their parts, token counts and log probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from contextprotocol.v1 import generation_pb2, message_pb2
from mcp_server.api.encode.timestamp import timestamp
from mcp_server.values import (
    Blob,
    FinishReason,
    Logprob,
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
    UsageSource,
    turn_name,
)

_ROLES: Final = {
    Role.SYSTEM: message_pb2.ROLE_SYSTEM,
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}
FINISH_REASONS: Final = {
    None: message_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: message_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: message_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: message_pb2.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: message_pb2.FINISH_REASON_CONTENT_FILTER,
}
_USAGE_SOURCES: Final = {
    UsageSource.REPORTED: message_pb2.Usage.SOURCE_REPORTED,
    UsageSource.ESTIMATED: message_pb2.Usage.SOURCE_ESTIMATED,
}


def message(value: Message, session: str) -> message_pb2.Message:
    """A message of the session with the id ``session``, or of none."""
    turn = value.turn
    if turn and "/" not in turn:  # as earlier versions stored it
        turn = turn_name(session, turn)
    return message_pb2.Message(
        index=value.index,
        id=value.id,
        role=_ROLES[value.role],
        parts=[_part(part) for part in value.parts],
        name=value.name,
        create_time=timestamp(value.create_time) if value.create_time else None,
        turn=turn,
        model=value.model,
        finish_reason=FINISH_REASONS[value.finish_reason],
        usage=usage(value.usage) if value.usage is not None else None,
    )


def _part(part: Part) -> message_pb2.Part:
    encoded = _content(part)
    if not isinstance(part, ToolResult) and part.provider_state is not None:
        encoded.provider_state.CopyFrom(provider_state(part.provider_state))
    return encoded


def provider_state(state: ProviderState) -> message_pb2.ProviderState:
    """What a provider needs to receive back."""
    return message_pb2.ProviderState(provider=state.provider, model=state.model, data=state.data)


def _content(part: Part) -> message_pb2.Part:
    if isinstance(part, Text):
        return message_pb2.Part(text=part.text)
    if isinstance(part, Reasoning):
        return message_pb2.Part(reasoning=part.text)
    if isinstance(part, Refusal):
        return message_pb2.Part(refusal=part.text)
    if isinstance(part, ToolCall):
        call = message_pb2.ToolCall(id=part.id, name=part.name, arguments_json=part.arguments_json)
        return message_pb2.Part(tool_call=call)
    if isinstance(part, ToolResult):
        pieces = [_part(piece) for piece in part.parts]
        result = message_pb2.ToolResult(tool_call_id=part.tool_call_id, parts=pieces, is_error=part.is_error)
        return message_pb2.Part(tool_result=result)
    return message_pb2.Part() if isinstance(part, ProviderStatePart) else message_pb2.Part(blob=_blob(part))


def _blob(blob: Blob) -> message_pb2.Blob:
    if blob.uri:
        return message_pb2.Blob(mime_type=blob.mime_type, uri=blob.uri)
    return message_pb2.Blob(mime_type=blob.mime_type, data=blob.data)


def usage(value: Usage) -> message_pb2.Usage:
    """Token counts."""
    result = message_pb2.Usage(
        input_tokens=value.input_tokens, output_tokens=value.output_tokens, source=_USAGE_SOURCES[value.source]
    )
    # Most providers report none of these, and each field that is set costs.
    if value.cached_input_tokens:
        result.cached_input_tokens = value.cached_input_tokens
    if value.cache_write_tokens:
        result.cache_write_tokens = value.cache_write_tokens
    if value.reasoning_tokens:
        result.reasoning_tokens = value.reasoning_tokens
    return result


def logprobs(values: Iterable[Logprob]) -> list[generation_pb2.Logprob]:
    """Log probabilities of tokens."""
    return [
        generation_pb2.Logprob(token=value.token, logprob=value.logprob, top=logprobs(value.top)) for value in values
    ]
