"""The values that a client takes and returns: plain, frozen, keyword-only."""

from mcp_client.values.access import Caller, CreatedKey, Key, KeyState, Limits, LimitState
from mcp_client.values.event import (
    AttemptSwitched,
    Delta,
    Event,
    Heartbeat,
    Logprob,
    PartStarted,
    ToolRun,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)
from mcp_client.values.message import (
    Blob,
    FinishReason,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from mcp_client.values.model import Embeddings, HealthStatus, Model, ModelState
from mcp_client.values.options import Seconds, ToolChoice, TurnOptions
from mcp_client.values.session import ContextEntry, Session
from mcp_client.values.turn import Attempt, Reply, Turn, TurnFailure, TurnState, Window
from mcp_client.values.usage import UsageRow

__all__ = [
    "Attempt",
    "AttemptSwitched",
    "Blob",
    "Caller",
    "ContextEntry",
    "CreatedKey",
    "Delta",
    "Embeddings",
    "Event",
    "FinishReason",
    "HealthStatus",
    "Heartbeat",
    "Key",
    "KeyState",
    "LimitState",
    "Limits",
    "Logprob",
    "Message",
    "Model",
    "ModelState",
    "Part",
    "PartStarted",
    "Reasoning",
    "Refusal",
    "Reply",
    "Role",
    "Seconds",
    "Session",
    "Text",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "ToolRun",
    "Turn",
    "TurnCompleted",
    "TurnFailure",
    "TurnOptions",
    "TurnQueued",
    "TurnStarted",
    "TurnState",
    "Usage",
    "UsageRow",
    "Window",
]
