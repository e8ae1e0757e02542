"""Turns and their answers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from mcp_client.values.message import FinishReason, Message, Usage


class TurnState(enum.StrEnum):
    """The state of a turn."""

    QUEUED = "queued"
    """The turn waits for its session."""
    RUNNING = "running"
    """A provider generates the answer."""
    SUCCEEDED = "succeeded"
    """The turn completed, and its messages are in the session's history. Final."""
    FAILED = "failed"
    """The turn ended with an error and left the history unchanged. Final."""
    CANCELLED = "cancelled"
    """The turn was cancelled and left the history unchanged. Final."""
    INTERRUPTED = "interrupted"
    """The server process died. The same request with the same ``request_id`` runs the turn again."""
    UNKNOWN = "unknown"
    """A state that this version of the client does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of a session's history that the model was given."""

    first_message: int
    """The index of the oldest message that was included."""
    used_messages: int
    dropped_messages: int
    input_tokens: int
    """The length of the whole prompt; an estimate unless the provider can count tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of the server to a provider."""

    provider: str
    model: str
    start_time: datetime
    time_to_first_token: float | None
    """In seconds."""
    duration: float
    """In seconds."""
    usage: Usage
    delivered_tokens: int
    """How many tokens of the attempt became part of the answer."""
    cost: Decimal
    """The price, in ``currency``; 0 if the server has no price for the model."""
    currency: str
    """An ISO 4217 code, or empty."""
    outcome: TurnState
    """``succeeded``, ``failed``, ``cancelled`` or ``interrupted``; ``running`` while the attempt runs."""
    reason: str
    """The reason of the failure, or empty."""
    error: str
    """The message of the failure, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a turn that succeeded."""

    message: Message
    """The complete answer."""
    finish_reason: FinishReason
    usage: Usage
    attempts: Sequence[Attempt]
    turn: str
    """The full name of the turn."""
    session_etag: str
    """The session's etag after the turn; empty without a session."""
    time_to_first_token: float | None
    """In seconds, measured by the server."""
    duration: float
    """In seconds, measured by the server."""

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text

    def __str__(self) -> str:
        return self.message.text


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFailure:
    """Why a turn did not succeed."""

    code: str
    """The gRPC status code, for example ``UNAVAILABLE``."""
    reason: str
    """The server's reason, for example ``PROVIDER_UNAVAILABLE``."""
    message: str
    """What went wrong, where, and what to do."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Machine-readable facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request to a model and its answer, as the server stores them."""

    name: str
    """``sessions/{session}/turns/{turn}``; ``turns/{turn}`` for a call without a session."""
    state: TurnState
    request_id: str
    """The caller's idempotency key."""
    create_time: datetime
    start_time: datetime | None
    """When the first attempt began; ``None`` before that."""
    end_time: datetime | None
    message: Message | None
    """The answer so far, if there is any. ``None`` in lists of turns."""
    finish_reason: FinishReason | None
    """Why the model stopped, if the turn succeeded."""
    usage: Usage
    """The sum over all attempts."""
    window: Window
    error: TurnFailure | None
    """Why the turn did not succeed; ``None`` if it did, or has not ended."""
    attempts: Sequence[Attempt]
    """All calls to providers, in order."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels of the call."""
