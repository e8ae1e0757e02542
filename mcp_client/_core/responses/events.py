"""Decodes the events of a turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from contextprotocol.v1 import generation_pb2, turn_pb2
from mcp_client._core.responses.messages import provider_state
from mcp_client._core.responses.scalars import reason
from mcp_client._core.responses.turns import reply, window
from mcp_client.values import (
    AttemptSwitched,
    Delta,
    Event,
    Heartbeat,
    Logprob,
    PartStarted,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)

_PART_KINDS: Final = {
    turn_pb2.PartStarted.KIND_TEXT: "text",
    turn_pb2.PartStarted.KIND_REASONING: "reasoning",
    turn_pb2.PartStarted.KIND_REFUSAL: "refusal",
    turn_pb2.PartStarted.KIND_TOOL_CALL: "tool_call",
    turn_pb2.PartStarted.KIND_BLOB: "blob",
    turn_pb2.PartStarted.KIND_PROVIDER_STATE: "provider_state",
}


def event(value: turn_pb2.TurnEvent, turn: str) -> Event | None:
    """An event of a turn; ``None`` if this version of the client does not know its kind."""
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
            provider_state=provider_state(delta.provider_state) if delta.HasField("provider_state") else None,
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
            window=window(started.window),
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
            reason=reason(switched.reason),
            window=window(switched.window),
        )
    return None


def _logprobs(values: Iterable[generation_pb2.Logprob]) -> tuple[Logprob, ...]:
    return tuple([Logprob(token=v.token, logprob=v.logprob, top=_logprobs(v.top)) for v in values])
