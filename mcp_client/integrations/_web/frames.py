"""The events of a turn as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from mcp_client import (
    AttemptSwitched,
    Delta,
    Event,
    MCPError,
    PartStarted,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)
from mcp_client.integrations._web.problems import problem, turn_id
from mcp_client.integrations._web.requests import END

AsyncFrames: TypeAlias = AsyncGenerator[bytes, None]
SyncFrames: TypeAlias = Generator[bytes, None, None]
"""The chunks of a streaming response."""

OPENING: Final = b"retry: 1000\n\n"
"""The first chunk of each stream: browsers that lose the connection reconnect after a second."""
HEARTBEAT: Final = b":\n\n"
"""A comment, which browsers ignore and proxies take as activity."""


def event_frame(event: Event, turn: str, *, with_tools: bool = False) -> bytes:
    """An event of the turn with this full name.

    Args:
        event: the event.
        turn: the full name.
        with_tools: whether another turn follows one whose answer calls functions.
    """
    if isinstance(event, Delta):
        if event.provider_state is not None:  # it is of no use to a browser
            return HEARTBEAT
        kind = "text" if event.text else "reasoning" if event.reasoning else "tool_arguments"
        return _frame("delta", f"{turn_id(turn)}/{event.sequence}", {"part": event.part, kind: getattr(event, kind)})
    if isinstance(event, TurnQueued):
        name, data = "queued", {"turn": turn_id(turn), "position": event.position}
    elif isinstance(event, TurnStarted):
        name, data = "started", {"turn": turn_id(turn), "model": event.model}
    elif isinstance(event, PartStarted):
        name, data = "part", {"part": event.part, "kind": event.kind}
        if event.kind == "tool_call":
            data |= {"tool_call_id": event.tool_call_id, "tool_name": event.tool_name}
    elif isinstance(event, AttemptSwitched):
        switch = {"from_model": event.from_model, "to_model": event.to_model}
        name, data = "switched", {**switch, "restarted": event.restarted, "reason": event.reason}
    elif isinstance(event, TurnCompleted):
        reply = event.reply
        data = {"turn": turn_id(turn), "model": reply.message.model, "finish_reason": reply.finish_reason}
        continues = with_tools and bool(reply.message.tool_calls)
        name, data = "calling" if continues else "completed", {**data, "usage": asdict(reply.usage)}
    else:
        return HEARTBEAT
    return _frame(name, f"{turn_id(turn)}/{event.sequence}", data)


def failure_frame(error: MCPError, turn: str) -> bytes:
    """The last event of a stream that ends without an answer.

    (Its name is not ``error``, which browsers use for a lost connection.) If the turn has failed, no events follow;
    otherwise the event has no id, so that a browser that reconnects resumes after the last one that it received.
    """
    return _frame("failed", f"{turn_id(turn)}/{END}" if error.details.final else "", problem(error))


def _frame(name: str, id: str, data: Mapping[str, Any]) -> bytes:
    # JSON escapes line breaks, which would end the line.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {name}\ndata: {text}\n\n".encode()
