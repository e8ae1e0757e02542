"""Turns, their events and their attempts."""

from __future__ import annotations

from typing import Final

from contextprotocol.v1 import turn_pb2
from mcp_server.api.codes import number_of
from mcp_server.api.encode.message import FINISH_REASONS, logprobs, message, provider_state, usage
from mcp_server.api.encode.timestamp import duration, timestamp
from mcp_server.values import (
    Attempt,
    Completed,
    Delta,
    Event,
    PartStarted,
    Queued,
    Started,
    Switched,
    SwitchMode,
    Turn,
    TurnError,
    TurnState,
    Window,
)

_TURN_STATES: Final = {
    TurnState.QUEUED: turn_pb2.TURN_STATE_QUEUED,
    TurnState.RUNNING: turn_pb2.TURN_STATE_RUNNING,
    TurnState.SUCCEEDED: turn_pb2.TURN_STATE_SUCCEEDED,
    TurnState.FAILED: turn_pb2.TURN_STATE_FAILED,
    TurnState.CANCELLED: turn_pb2.TURN_STATE_CANCELLED,
    TurnState.INTERRUPTED: turn_pb2.TURN_STATE_INTERRUPTED,
}
_PART_KINDS: Final = {
    "text": turn_pb2.PartStarted.KIND_TEXT,
    "reasoning": turn_pb2.PartStarted.KIND_REASONING,
    "refusal": turn_pb2.PartStarted.KIND_REFUSAL,
    "tool_call": turn_pb2.PartStarted.KIND_TOOL_CALL,
    "provider_state": turn_pb2.PartStarted.KIND_PROVIDER_STATE,
}
_MODES: Final = {
    SwitchMode.RESTARTED: turn_pb2.AttemptSwitched.MODE_RESTARTED,
    SwitchMode.CONTINUED: turn_pb2.AttemptSwitched.MODE_CONTINUED,
}
_PIECES: Final = {"text": "text", "refusal": "text", "reasoning": "reasoning", "tool_call": "tool_arguments"}


def turn_event(sequence: int, event: Event, session: str) -> turn_pb2.TurnEvent:
    """An event of a turn on the session with the id ``session``, or on none."""
    if type(event) is Delta:
        delta = turn_pb2.Delta(part=event.part)
        if event.provider_state is not None:
            delta.provider_state.CopyFrom(provider_state(event.provider_state))
        else:
            setattr(delta, _PIECES[event.kind], event.text)
        if event.logprobs:
            delta.logprobs.extend(logprobs(event.logprobs))
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
        finish_reason=FINISH_REASONS[value.finish_reason],
        usage=usage(value.usage),
        window=_window(value.window),
        error=_turn_error(value.error) if value.error is not None else None,
        attempts=[attempt(each) for each in value.attempts],
        labels=value.labels,
    )


def turn_completed(event: Completed, session: str) -> turn_pb2.TurnCompleted:
    """How a turn succeeded."""
    first = event.time_to_first_token
    return turn_pb2.TurnCompleted(
        message=message(event.message, session),
        finish_reason=FINISH_REASONS[event.finish_reason],
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
        code=number_of(value.reason),
        reason=f"ERROR_REASON_{value.reason}",
        message=value.message,
        metadata=value.metadata,
    )
