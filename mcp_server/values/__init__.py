"""Immutable, typed values that all parts of the server share; independent of transports and vendors.

Times are integers: nanoseconds since the Unix epoch. Durations are integers: nanoseconds. An unset field is ``None``,
an empty string or an empty collection, never a placeholder number. :mod:`msgspec` can encode and decode every value.
"""

from mcp_server.values.access import NO_LIMITS, SCOPES, Hold, Key, KeyDraft, KeyState, KeyUpdate, Limits, LimitState
from mcp_server.values.base import Struct
from mcp_server.values.context import ContextEntry, Visibility
from mcp_server.values.embedding import Embeddings
from mcp_server.values.event import (
    Completed,
    Delta,
    Event,
    Heartbeat,
    PartStarted,
    Queued,
    Started,
    Switched,
    SwitchMode,
)
from mcp_server.values.generation import (
    GenerationConfig,
    IfBusy,
    Logprob,
    OnDisconnect,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from mcp_server.values.message import (
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
)
from mcp_server.values.model import Capabilities, Model, ModelState
from mcp_server.values.session import MCPSession, Receipt, SessionDraft, SessionUpdate
from mcp_server.values.time import DAY, HOUR, SECOND, Clock, elapsed
from mcp_server.values.turn import FINAL, UNFINISHED, Attempt, Lease, Turn, TurnError, TurnState, Window, turn_name
from mcp_server.values.usage import Usage, UsageEntry, UsageSource, UsageSum, total_usage

__all__ = [
    "DAY",
    "FINAL",
    "HOUR",
    "NO_LIMITS",
    "SCOPES",
    "SECOND",
    "UNFINISHED",
    "Attempt",
    "Blob",
    "Capabilities",
    "Clock",
    "Completed",
    "ContextEntry",
    "Delta",
    "Embeddings",
    "Event",
    "FinishReason",
    "GenerationConfig",
    "Heartbeat",
    "Hold",
    "IfBusy",
    "Key",
    "KeyDraft",
    "KeyState",
    "KeyUpdate",
    "Lease",
    "LimitState",
    "Limits",
    "Logprob",
    "MCPSession",
    "Message",
    "Model",
    "ModelState",
    "OnDisconnect",
    "Part",
    "PartStarted",
    "Queued",
    "Reasoning",
    "Receipt",
    "Refusal",
    "ResponseFormat",
    "Role",
    "SessionDraft",
    "SessionUpdate",
    "Started",
    "Struct",
    "SwitchMode",
    "Switched",
    "Text",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolResult",
    "Turn",
    "TurnError",
    "TurnState",
    "Usage",
    "UsageEntry",
    "UsageSource",
    "UsageSum",
    "Visibility",
    "Window",
    "elapsed",
    "total_usage",
    "turn_name",
]
