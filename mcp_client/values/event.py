"""The events of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_client.values.message import ProviderState, ToolCall, ToolResult
from mcp_client.values.turn import Logprob, Reply, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnQueued:
    """The turn waits for its session."""

    sequence: int
    turn: str
    position: int
    """How many turns run before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """The turn runs."""

    sequence: int
    turn: str
    model: str
    """``provider/model``."""
    window: Window
    session_etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStarted:
    """A part of the answer begins."""

    sequence: int
    part: int
    """The position of the part in the answer, from 0."""
    kind: str
    """``text``, ``reasoning``, ``refusal``, ``tool_call``, ``blob``, ``provider_state``, or ``unknown``."""
    tool_call_id: str
    tool_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a part: exactly one of ``text``, ``reasoning``, ``tool_arguments`` and ``provider_state`` is set."""

    sequence: int
    part: int
    text: str
    reasoning: str
    tool_arguments: str
    logprobs: Sequence[Logprob] = ()
    provider_state: ProviderState | None = None
    """What the provider needs to receive back with the part; at most once for each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSwitched:
    """The server continues the turn with another attempt, usually of another model."""

    sequence: int
    from_model: str
    to_model: str
    restarted: bool
    """Whether the answer starts over and all parts so far are void; otherwise the new attempt continues them."""
    reason: str
    """The reason of the failure; empty if this version of the client does not know it."""
    window: Window
    """The part of the history that the new attempt is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The turn is alive, and has nothing else to report."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted:
    """The turn succeeded."""

    sequence: int
    reply: Reply


Event = TurnQueued | TurnStarted | PartStarted | Delta | AttemptSwitched | Heartbeat | TurnCompleted
"""An event of a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """The client ran a function for the model."""

    call: ToolCall
    """The model's request."""
    result: ToolResult
    """What the function returned or raised."""
