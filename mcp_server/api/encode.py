"""From the gateway's values to messages on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from contextprotocol.v1 import (
    context_pb2,
    generation_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
)
from mcp_server.api.codes import CODES
from mcp_server.gateway import max_batch
from mcp_server.models.target import Target
from mcp_server.values import (
    SECOND,
    Attempt,
    Blob,
    Completed,
    ContextEntry,
    Delta,
    Event,
    FinishReason,
    Logprob,
    MCPSession,
    Message,
    ModelState,
    Part,
    PartStarted,
    Queued,
    Reasoning,
    Refusal,
    Role,
    Started,
    Switched,
    SwitchMode,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    TurnError,
    TurnState,
    Usage,
    UsageSource,
    Visibility,
    Window,
    turn_name,
)

_ROLES = {
    Role.SYSTEM: message_pb2.ROLE_SYSTEM,
    Role.USER: message_pb2.ROLE_USER,
    Role.ASSISTANT: message_pb2.ROLE_ASSISTANT,
    Role.TOOL: message_pb2.ROLE_TOOL,
}
_FINISH_REASONS = {
    None: message_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: message_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: message_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: message_pb2.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: message_pb2.FINISH_REASON_CONTENT_FILTER,
}
_USAGE_SOURCES = {
    UsageSource.REPORTED: message_pb2.Usage.SOURCE_REPORTED,
    UsageSource.ESTIMATED: message_pb2.Usage.SOURCE_ESTIMATED,
}
_TURN_STATES = {
    TurnState.QUEUED: turn_pb2.TURN_STATE_QUEUED,
    TurnState.RUNNING: turn_pb2.TURN_STATE_RUNNING,
    TurnState.SUCCEEDED: turn_pb2.TURN_STATE_SUCCEEDED,
    TurnState.FAILED: turn_pb2.TURN_STATE_FAILED,
    TurnState.CANCELLED: turn_pb2.TURN_STATE_CANCELLED,
    TurnState.INTERRUPTED: turn_pb2.TURN_STATE_INTERRUPTED,
}
_PART_KINDS = {
    "text": turn_pb2.PartStarted.KIND_TEXT,
    "reasoning": turn_pb2.PartStarted.KIND_REASONING,
    "refusal": turn_pb2.PartStarted.KIND_REFUSAL,
    "tool_call": turn_pb2.PartStarted.KIND_TOOL_CALL,
}
_MODES = {
    SwitchMode.RESTARTED: turn_pb2.AttemptSwitched.MODE_RESTARTED,
    SwitchMode.CONTINUED: turn_pb2.AttemptSwitched.MODE_CONTINUED,
}
_PIECES = {"text": "text", "refusal": "text", "reasoning": "reasoning", "tool_call": "tool_arguments"}
_MODEL_STATES = {
    ModelState.READY: model_pb2.Model.STATE_READY,
    ModelState.LOADING: model_pb2.Model.STATE_LOADING,
    ModelState.UNAVAILABLE: model_pb2.Model.STATE_UNAVAILABLE,
}
_VISIBILITIES = {
    Visibility.PROMPT: context_pb2.ContextEntry.VISIBILITY_PROMPT,
    Visibility.STORED: context_pb2.ContextEntry.VISIBILITY_STORED,
}
MAX_INT32 = 2**31 - 1


def timestamp(time: int) -> timestamp_pb2.Timestamp:
    """A time in nanoseconds since the Unix epoch."""
    return timestamp_pb2.Timestamp(seconds=time // SECOND, nanos=time % SECOND)


def duration(nanoseconds: int) -> duration_pb2.Duration:
    """A duration of nanoseconds, never negative."""
    return duration_pb2.Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)


# -- messages ---------------------------------------------------------------------------------------------------------


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
        finish_reason=_FINISH_REASONS[value.finish_reason],
        usage=usage(value.usage) if value.usage is not None else None,
    )


def _part(part: Part) -> message_pb2.Part:
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
    return message_pb2.Part(blob=_blob(part))


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


def _logprobs(values: Iterable[Logprob]) -> list[generation_pb2.Logprob]:
    return [
        generation_pb2.Logprob(token=value.token, logprob=value.logprob, top=_logprobs(value.top)) for value in values
    ]


# -- turns ------------------------------------------------------------------------------------------------------------


def turn_event(sequence: int, event: Event, session: str) -> turn_pb2.TurnEvent:
    """An event of a turn on the session with the id ``session``, or on none."""
    if type(event) is Delta:
        delta = turn_pb2.Delta(part=event.part)
        setattr(delta, _PIECES[event.kind], event.text)
        if event.logprobs:
            delta.logprobs.extend(_logprobs(event.logprobs))
        return turn_pb2.TurnEvent(sequence=sequence, delta=delta)
    if type(event) is PartStarted:
        return turn_pb2.TurnEvent(
            sequence=sequence,
            part_started=turn_pb2.PartStarted(
                part=event.part,
                kind=_PART_KINDS[event.kind],
                tool_call_id=event.tool_call_id,
                tool_name=event.tool_name,
            ),
        )
    if type(event) is Started:
        return turn_pb2.TurnEvent(
            sequence=sequence,
            started=turn_pb2.TurnStarted(
                turn=event.turn,
                model=event.model,
                provider=event.provider,
                window=_window(event.window),
                session_etag=event.session_etag,
            ),
        )
    if type(event) is Completed:
        return turn_pb2.TurnEvent(sequence=sequence, completed=turn_completed(event, session))
    if type(event) is Queued:
        queued = turn_pb2.TurnQueued(turn=event.turn, position=event.position)
        return turn_pb2.TurnEvent(sequence=sequence, queued=queued)
    if type(event) is Switched:
        switched = turn_pb2.AttemptSwitched(
            from_model=event.from_model,
            to_model=event.to_model,
            reason=f"ERROR_REASON_{event.reason}",
            window=_window(event.window),
            mode=_MODES[event.mode],
        )
        return turn_pb2.TurnEvent(sequence=sequence, switched=switched)
    return turn_pb2.TurnEvent(sequence=sequence, heartbeat=turn_pb2.Heartbeat())


def turn(value: Turn, *, brief: bool = False) -> turn_pb2.Turn:
    """A turn; ``brief`` leaves out its message."""
    return turn_pb2.Turn(
        name=value.name,
        state=_TURN_STATES[value.state],
        request_id=value.request_id,
        create_time=timestamp(value.create_time),
        start_time=timestamp(value.start_time) if value.start_time is not None else None,
        end_time=timestamp(value.end_time) if value.end_time is not None else None,
        message=message(value.message, value.session) if value.message is not None and not brief else None,
        finish_reason=_FINISH_REASONS[value.finish_reason],
        usage=usage(value.usage),
        window=_window(value.window),
        error=_turn_error(value.error) if value.error is not None else None,
        attempts=[attempt(each) for each in value.attempts],
    )


def turn_completed(event: Completed, session: str) -> turn_pb2.TurnCompleted:
    """How a turn succeeded."""
    first = event.time_to_first_token
    return turn_pb2.TurnCompleted(
        message=message(event.message, session),
        finish_reason=_FINISH_REASONS[event.finish_reason],
        usage=usage(event.usage),
        attempts=[attempt(value) for value in event.attempts],
        session_etag=event.session_etag,
        time_to_first_token=duration(first) if first is not None else None,
        duration=duration(event.duration),
    )


def _window(value: Window) -> turn_pb2.Window:
    return turn_pb2.Window(
        first_message=value.first_message,
        used_messages=value.used_messages,
        dropped_messages=value.dropped_messages,
        input_tokens=value.input_tokens,
    )


def attempt(value: Attempt) -> turn_pb2.Attempt:
    """One call to a provider."""
    first = value.first_token_duration
    return turn_pb2.Attempt(
        provider=value.provider,
        model=value.model,
        start_time=timestamp(value.start_time),
        time_to_first_token=duration(first) if first is not None else None,
        duration=duration(value.duration),
        usage=usage(value.usage),
        delivered_tokens=value.delivered_tokens,
        cost_nanos=value.cost_nanos,
        currency=value.currency,
        outcome=_TURN_STATES[value.outcome],
        error=_turn_error(value.error) if value.error is not None else None,
    )


def _turn_error(value: TurnError) -> turn_pb2.TurnError:
    return turn_pb2.TurnError(
        code=CODES[value.reason].value[0],
        reason=f"ERROR_REASON_{value.reason}",
        message=value.message,
        metadata=value.metadata,
    )


# -- sessions ---------------------------------------------------------------------------------------------------------


def session(value: MCPSession, now: int, *, brief: bool = False) -> session_pb2.Session:
    """A session; ``brief`` leaves out its context and metadata."""
    result = session_pb2.Session(
        name=value.name,
        uid=value.uid,
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        ttl=duration(value.ttl) if value.ttl is not None else None,
        expire_time=timestamp(value.expire_time) if value.expire_time is not None else None,
        etag=value.etag,
        labels=value.labels,
        system_instruction=value.system_instruction,
        default_model=value.default_model,
        message_count=value.message_count,
        active_turn=turn_name(value.id, value.claim) if value.claim else "",
        parent=f"sessions/{value.parent}" if value.parent else "",
    )
    if not brief:
        for name, entry in value.context.items():
            _context_entry(entry, result.context[name])
        if value.metadata:
            for key, item in value.metadata.items():
                _value(item, result.metadata.fields[key])
    return result


def _context_entry(entry: ContextEntry, into: context_pb2.ContextEntry) -> None:
    into.type = entry.type
    into.visibility = _VISIBILITIES[entry.visibility]
    if entry.kind == "text":
        into.text = entry.text
    elif entry.kind == "json":
        _value(entry.json, into.json)
    else:
        into.data.mime_type = entry.mime_type
        into.data.content = entry.data


def _value(value: Any, into: struct_pb2.Value) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        into.number_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, dict):
        into.struct_value.SetInParent()
        for key, item in value.items():
            _value(item, into.struct_value.fields[key])
    else:
        into.list_value.SetInParent()
        for item in value:
            _value(item, into.list_value.values.add())


# -- models -----------------------------------------------------------------------------------------------------------


def model(target: Target, aliases: Iterable[str], *, is_default: bool) -> model_pb2.Model:
    """A model."""
    value = target.model
    can = value.capabilities
    return model_pb2.Model(
        name=f"models/{target.name}",
        provider=target.provider_name,
        aliases=sorted(aliases),
        capabilities=model_pb2.ModelCapabilities(
            chat=can.chat,
            completion=can.completion,
            embedding=can.embedding,
            tools=can.tools,
            images=can.images,
            json_schema=can.json_schema,
            prefill=can.prefill,
        ),
        context_window=min(value.context_window, MAX_INT32),
        max_batch=max_batch(target),
        embedding_dimensions=value.embedding_dimensions,
        state=_MODEL_STATES[value.state],
        state_reason=value.state_reason,
        is_default=is_default,
    )
