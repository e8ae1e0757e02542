"""From what comes over the wire to plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.rpc import code_pb2

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    context_pb2,
    embedding_pb2,
    errors_pb2,
    generation_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
)
from mcp_client._messages import (
    Attempt,
    AttemptSwitched,
    Blob,
    ContextEntry,
    Delta,
    Embeddings,
    Event,
    FinishReason,
    Heartbeat,
    Logprob,
    Message,
    Model,
    ModelState,
    Part,
    PartStarted,
    Reasoning,
    Refusal,
    Reply,
    Role,
    Session,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    TurnCompleted,
    TurnFailure,
    TurnQueued,
    TurnStarted,
    TurnState,
    Usage,
    Window,
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
_PART_KINDS: Final = {
    turn_pb2.PartStarted.KIND_TEXT: "text",
    turn_pb2.PartStarted.KIND_REASONING: "reasoning",
    turn_pb2.PartStarted.KIND_REFUSAL: "refusal",
    turn_pb2.PartStarted.KIND_TOOL_CALL: "tool_call",
    turn_pb2.PartStarted.KIND_BLOB: "blob",
}
_TURN_STATES: Final = {
    turn_pb2.TURN_STATE_QUEUED: TurnState.QUEUED,
    turn_pb2.TURN_STATE_RUNNING: TurnState.RUNNING,
    turn_pb2.TURN_STATE_SUCCEEDED: TurnState.SUCCEEDED,
    turn_pb2.TURN_STATE_FAILED: TurnState.FAILED,
    turn_pb2.TURN_STATE_CANCELLED: TurnState.CANCELLED,
    turn_pb2.TURN_STATE_INTERRUPTED: TurnState.INTERRUPTED,
}
_MODEL_STATES: Final = {
    model_pb2.Model.STATE_READY: ModelState.READY,
    model_pb2.Model.STATE_LOADING: ModelState.LOADING,
    model_pb2.Model.STATE_UNAVAILABLE: ModelState.UNAVAILABLE,
}
_CAPABILITIES: Final = tuple(field.name for field in model_pb2.ModelCapabilities.DESCRIPTOR.fields)


def _time(value: timestamp_pb2.Timestamp) -> datetime:
    return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)


def _seconds(value: duration_pb2.Duration) -> float:
    return value.seconds + value.nanos / 1e9


def _json(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _json(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_json(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= 2**53 else number
    return None if kind in (None, "null_value") else getattr(value, kind)


# -- messages and turns -----------------------------------------------------------------------------------------------


def message(value: message_pb2.Message) -> Message:
    """A message; parts that are newer than this client are left out."""
    return Message(
        role=_ROLES.get(value.role, Role.UNKNOWN),
        parts=tuple([part for part in map(_part, value.parts) if part is not None]),
        name=value.name,
        index=value.index,
        id=value.id,
        create_time=_time(value.create_time) if value.HasField("create_time") else None,
        turn=value.turn,
        model=value.model,
        finish_reason=_finish_reason(value.finish_reason) if value.finish_reason else None,
        usage=_usage(value.usage) if value.HasField("usage") else None,
    )


def _part(value: message_pb2.Part) -> Part | None:
    kind = value.WhichOneof("part")
    if kind == "text":
        return Text(text=value.text)
    if kind == "reasoning":
        return Reasoning(text=value.reasoning)
    if kind == "refusal":
        return Refusal(text=value.refusal)
    if kind == "blob":
        return Blob(mime_type=value.blob.mime_type, data=value.blob.data, uri=value.blob.uri)
    if kind == "tool_call":
        call = value.tool_call
        return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
    if kind == "tool_result":
        result = value.tool_result
        pieces = [piece for piece in map(_part, result.parts) if isinstance(piece, Text | Blob)]
        return ToolResult(tool_call_id=result.tool_call_id, parts=tuple(pieces), is_error=result.is_error)
    return None


def _finish_reason(value: int) -> FinishReason:
    return _FINISH_REASONS.get(value, FinishReason.UNKNOWN)  # type: ignore[call-overload, no-any-return]  # an open enum


def _usage(value: message_pb2.Usage) -> Usage:
    return Usage(
        input_tokens=value.input_tokens,
        cached_input_tokens=value.cached_input_tokens,
        cache_write_tokens=value.cache_write_tokens,
        output_tokens=value.output_tokens,
        reasoning_tokens=value.reasoning_tokens,
        estimated=value.source == message_pb2.Usage.SOURCE_ESTIMATED,
    )


def _window(value: turn_pb2.Window) -> Window:
    return Window(
        first_message=value.first_message,
        used_messages=value.used_messages,
        dropped_messages=value.dropped_messages,
        input_tokens=value.input_tokens,
    )


def _attempt(value: turn_pb2.Attempt) -> Attempt:
    first = value.time_to_first_token if value.HasField("time_to_first_token") else None
    return Attempt(
        provider=value.provider,
        model=value.model,
        start_time=_time(value.start_time),
        time_to_first_token=_seconds(first) if first is not None else None,
        duration=_seconds(value.duration),
        usage=_usage(value.usage),
        delivered_tokens=value.delivered_tokens,
        cost=Decimal(value.cost_nanos).scaleb(-9),
        currency=value.currency,
        outcome=_TURN_STATES.get(value.outcome, TurnState.UNKNOWN),
        reason=_reason(value.error.reason),
        error=value.error.message,
    )


def _reason(value: int) -> str:
    """The reason's name; empty if there is none, or if it is newer than this client."""
    known = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(value) if value else None
    return known.name.removeprefix("ERROR_REASON_") if known is not None else ""


def turn(value: turn_pb2.Turn) -> Turn:
    """A turn."""
    return Turn(
        name=value.name,
        state=_TURN_STATES.get(value.state, TurnState.UNKNOWN),
        request_id=value.request_id,
        create_time=_time(value.create_time),
        start_time=_time(value.start_time) if value.HasField("start_time") else None,
        end_time=_time(value.end_time) if value.HasField("end_time") else None,
        message=message(value.message) if value.HasField("message") else None,
        finish_reason=_finish_reason(value.finish_reason) if value.finish_reason else None,
        usage=_usage(value.usage),
        window=_window(value.window),
        error=_failure(value.error) if value.HasField("error") else None,
        attempts=tuple([_attempt(attempt) for attempt in value.attempts]),
    )


def _failure(value: turn_pb2.TurnError) -> TurnFailure:
    code = code_pb2.Code.DESCRIPTOR.values_by_number.get(value.code)
    return TurnFailure(
        code=code.name if code is not None else "UNKNOWN",
        reason=_reason(value.reason),
        message=value.message,
        metadata=dict(value.metadata),
    )


def reply(turn: str, value: turn_pb2.TurnCompleted) -> Reply:
    """The answer of a turn that succeeded; who joined late knows no name of it but the one in the message."""
    first = value.time_to_first_token if value.HasField("time_to_first_token") else None
    return Reply(
        message=message(value.message),
        finish_reason=_finish_reason(value.finish_reason),
        usage=_usage(value.usage),
        attempts=tuple([_attempt(attempt) for attempt in value.attempts]),
        turn=turn or value.message.turn,
        session_etag=value.session_etag,
        time_to_first_token=_seconds(first) if first is not None else None,
        duration=_seconds(value.duration),
    )


def unary_reply(value: chat_pb2.ChatResponse | completion_pb2.CompleteResponse) -> Reply:
    """The answer of a unary call."""
    return reply(value.turn, value.completed)


def _logprobs(values: Iterable[generation_pb2.Logprob]) -> tuple[Logprob, ...]:
    return tuple([Logprob(token=v.token, logprob=v.logprob, top=_logprobs(v.top)) for v in values])


def event(value: turn_pb2.TurnEvent, turn: str) -> Event | None:
    """What happened in the turn; ``None`` for what is newer than this client."""
    kind, sequence = value.WhichOneof("event"), value.sequence
    if kind == "delta":
        delta = value.delta
        return Delta(
            sequence=sequence,
            part=delta.part,
            text=delta.text,
            reasoning=delta.reasoning,
            tool_arguments=delta.tool_arguments,
            logprobs=_logprobs(delta.logprobs) if delta.logprobs else (),
        )
    if kind == "part_started":
        part = value.part_started
        return PartStarted(
            sequence=sequence,
            part=part.part,
            kind=_PART_KINDS.get(part.kind, "unknown"),
            tool_call_id=part.tool_call_id,
            tool_name=part.tool_name,
        )
    if kind == "started":
        started = value.started
        return TurnStarted(
            sequence=sequence,
            turn=started.turn,
            model=started.model,
            window=_window(started.window),
            session_etag=started.session_etag,
        )
    if kind == "completed":
        return TurnCompleted(sequence=sequence, reply=reply(turn, value.completed))
    if kind == "heartbeat":
        return Heartbeat(sequence=sequence)
    if kind == "queued":
        return TurnQueued(sequence=sequence, turn=value.queued.turn, position=value.queued.position)
    if kind == "switched":
        switched = value.switched
        return AttemptSwitched(
            sequence=sequence,
            from_model=switched.from_model,
            to_model=switched.to_model,
            restarted=switched.mode == turn_pb2.AttemptSwitched.MODE_RESTARTED,
            reason=_reason(switched.reason),
            window=_window(switched.window),
        )
    return None


# -- sessions, models, embeddings -------------------------------------------------------------------------------------


def session(value: session_pb2.Session) -> Session:
    """A session."""
    return Session(
        name=value.name,
        uid=value.uid,
        create_time=_time(value.create_time),
        update_time=_time(value.update_time),
        etag=value.etag,
        ttl=_seconds(value.ttl) if value.HasField("ttl") else None,
        expire_time=_time(value.expire_time) if value.HasField("expire_time") else None,
        labels=dict(value.labels),
        metadata={key: _json(item) for key, item in value.metadata.fields.items()},
        system_instruction=value.system_instruction,
        default_model=value.default_model,
        context={name: _context_entry(entry) for name, entry in value.context.items()},
        message_count=value.message_count,
        active_turn=value.active_turn,
        parent=value.parent,
    )


def _context_entry(value: context_pb2.ContextEntry) -> ContextEntry:
    kind = value.WhichOneof("value")
    return ContextEntry(
        type=value.type,
        text=value.text if kind == "text" else None,
        json=_json(value.json) if kind == "json" else None,
        data=value.data.content if kind == "data" else None,
        mime_type=value.data.mime_type,
        stored_only=value.visibility == context_pb2.ContextEntry.VISIBILITY_STORED,
    )


def model(value: model_pb2.Model) -> Model:
    """A model."""
    return Model(
        name=value.name.removeprefix("models/"),
        provider=value.provider,
        aliases=tuple(value.aliases),
        capabilities=frozenset(name for name in _CAPABILITIES if getattr(value.capabilities, name)),
        context_window=value.context_window,
        max_batch=value.max_batch,
        embedding_dimensions=value.embedding_dimensions,
        state=_MODEL_STATES.get(value.state, ModelState.UNKNOWN),
        state_reason=value.state_reason,
        is_default=value.is_default,
    )


def embeddings(values: Sequence[embedding_pb2.EmbedResponse]) -> Embeddings:
    """The vectors of all batches."""
    vectors = tuple([tuple(embedding.values) for value in values for embedding in value.embeddings])
    return Embeddings(
        vectors=vectors,
        model=values[0].model,
        usage=_sum([_usage(value.usage) for value in values]),
        attempts=tuple([_attempt(attempt) for value in values for attempt in value.attempts]),
    )


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        input_tokens=sum([usage.input_tokens for usage in usages]),
        cached_input_tokens=sum([usage.cached_input_tokens for usage in usages]),
        cache_write_tokens=sum([usage.cache_write_tokens for usage in usages]),
        output_tokens=sum([usage.output_tokens for usage in usages]),
        reasoning_tokens=sum([usage.reasoning_tokens for usage in usages]),
        estimated=any(usage.estimated for usage in usages),
    )
