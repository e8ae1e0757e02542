"""Decodes turns and their answers."""

from __future__ import annotations

from typing import Final

from google.rpc import code_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, turn_pb2
from mcp_client._core.responses.messages import finish_reason, message, usage
from mcp_client._core.responses.scalars import cost, reason, seconds, time
from mcp_client.values import Attempt, Reply, Turn, TurnFailure, TurnState, Window

_TURN_STATES: Final = {
    turn_pb2.TURN_STATE_QUEUED: TurnState.QUEUED,
    turn_pb2.TURN_STATE_RUNNING: TurnState.RUNNING,
    turn_pb2.TURN_STATE_SUCCEEDED: TurnState.SUCCEEDED,
    turn_pb2.TURN_STATE_FAILED: TurnState.FAILED,
    turn_pb2.TURN_STATE_CANCELLED: TurnState.CANCELLED,
    turn_pb2.TURN_STATE_INTERRUPTED: TurnState.INTERRUPTED,
}


def turn(value: turn_pb2.Turn) -> Turn:
    """A turn."""
    return Turn(
        name=value.name,
        state=_TURN_STATES.get(value.state, TurnState.UNKNOWN),
        request_id=value.request_id,
        create_time=time(value.create_time),
        start_time=time(value.start_time) if value.HasField("start_time") else None,
        end_time=time(value.end_time) if value.HasField("end_time") else None,
        message=message(value.message) if value.HasField("message") else None,
        finish_reason=finish_reason(value.finish_reason) if value.finish_reason else None,
        usage=usage(value.usage),
        window=window(value.window),
        error=_failure(value.error) if value.HasField("error") else None,
        attempts=tuple([attempt(item) for item in value.attempts]),
        labels=dict(value.labels),
    )


def reply(turn: str, value: turn_pb2.TurnCompleted) -> Reply:
    """The answer of a turn that succeeded.

    Args:
        turn: the full name of the turn; empty if the reader joined late, and then taken from the message.
        value: the last event of the turn.
    """
    return Reply(
        message=message(value.message),
        finish_reason=finish_reason(value.finish_reason),
        usage=usage(value.usage),
        attempts=tuple([attempt(item) for item in value.attempts]),
        turn=turn or value.message.turn,
        session_etag=value.session_etag,
        time_to_first_token=_first_token(value),
        duration=seconds(value.duration),
    )


def unary_reply(value: chat_pb2.ChatResponse | completion_pb2.CompleteResponse) -> Reply:
    """The answer of a unary call."""
    return reply(value.turn, value.completed)


def attempt(value: turn_pb2.Attempt) -> Attempt:
    """A call to a provider."""
    return Attempt(
        provider=value.provider,
        model=value.model,
        start_time=time(value.start_time),
        time_to_first_token=_first_token(value),
        duration=seconds(value.duration),
        usage=usage(value.usage),
        delivered_tokens=value.delivered_tokens,
        cost=cost(value.cost_nanos),
        currency=value.currency,
        outcome=_TURN_STATES.get(value.outcome, TurnState.UNKNOWN),
        reason=reason(value.error.reason),
        error=value.error.message,
    )


def window(value: turn_pb2.Window) -> Window:
    """The part of the history that the model was given."""
    return Window(
        first_message=value.first_message,
        used_messages=value.used_messages,
        dropped_messages=value.dropped_messages,
        input_tokens=value.input_tokens,
    )


def _first_token(value: turn_pb2.TurnCompleted | turn_pb2.Attempt) -> float | None:
    return seconds(value.time_to_first_token) if value.HasField("time_to_first_token") else None


def _failure(value: turn_pb2.TurnError) -> TurnFailure:
    code = code_pb2.Code.DESCRIPTOR.values_by_number.get(value.code)
    return TurnFailure(
        code=code.name if code is not None else "UNKNOWN",
        reason=reason(value.reason),
        message=value.message,
        metadata=dict(value.metadata),
    )
