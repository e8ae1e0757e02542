"""Turns and their attempts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from mcp_server.values.access import Hold
from mcp_server.values.base import Struct
from mcp_server.values.generation import OnDisconnect
from mcp_server.values.message import FinishReason, Message
from mcp_server.values.usage import Usage


class TurnState(enum.StrEnum):
    """The state of a turn."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINAL = frozenset((TurnState.SUCCEEDED, TurnState.FAILED, TurnState.CANCELLED))
"""The states that never change again."""
UNFINISHED = frozenset((TurnState.QUEUED, TurnState.RUNNING))
"""The states in which a process runs the turn and holds its lease."""


class Window(Struct):
    """The part of a session's history that was in the prompt."""

    first_message: int = 0
    """The index of the oldest message in the prompt."""
    used_messages: int = 0
    """How many messages of the history were in the prompt."""
    dropped_messages: int = 0
    """How many older messages were left out."""
    input_tokens: int = 0
    """The length of the whole prompt in tokens; an estimate unless the provider can count tokens."""


class TurnError(Struct):
    """Why a turn did not succeed."""

    reason: str
    """The reason of the error, as in :mod:`mcp_server.errors`."""
    message: str
    """Its message."""
    metadata: Mapping[str, str] = {}
    """Its facts for programs."""


class Attempt(Struct):
    """One call to a provider."""

    provider: str
    """The provider's configured name."""
    model: str
    """The provider's own name of the model."""
    start_time: int
    """When the call started."""
    first_token_duration: int | None = None
    """The time to the first token; ``None`` if there was none."""
    duration: int = 0
    """The duration of the call."""
    usage: Usage = Usage()
    """The tokens of the call."""
    delivered_tokens: int = 0
    """How many of the output tokens were delivered to the turn."""
    cost_nanos: int = 0
    """The cost, in billionths of ``currency``; 0 if no price is configured."""
    currency: str = ""
    """An ISO 4217 code, or empty."""
    outcome: TurnState = TurnState.RUNNING
    """How the call ended; RUNNING until then."""
    error: TurnError | None = None
    """Why it did not succeed."""


class Lease(Struct):
    """The lease of an unfinished turn: which server process runs it, and until when no other process may."""

    owner: str
    """The id of the process."""
    address: str = ""
    """Where other servers reach it, ``host:port``, or empty."""
    expire_time: int | None = None
    """When the lease expires unless it is renewed, by the clock of the store; ``None`` in a store of one server, where
    it never expires."""


class Turn(Struct):
    """One request to a model and its answer, as it is stored."""

    tenant: str
    """The tenant that owns it."""
    id: str
    """The last part of its resource name."""
    service: str
    """``chat`` or ``completion``."""
    state: TurnState
    """The state it is in."""
    create_time: int
    """When the server accepted it."""
    session: str = ""
    """The id of its session, or empty."""
    session_uid: str = ""
    """The uid of its session, or empty."""
    start_time: int | None = None
    """When its first attempt started."""
    end_time: int | None = None
    """When it ended."""
    message: Message | None = None
    """The answer, as far as it has been generated."""
    finish_reason: FinishReason | None = None
    """Why the model stopped."""
    usage: Usage = Usage()
    """The tokens of all attempts together."""
    window: Window = Window()
    """The part of the history that was in the prompt."""
    attempts: tuple[Attempt, ...] = ()
    """All calls to providers, in order."""
    error: TurnError | None = None
    """Why it did not succeed."""
    fence: int = 0
    """The fencing token: it grows by one each time a process takes the turn over. A process with an older token has
    lost the turn."""
    lease: Lease | None = None
    """Which process runs it; only while it is QUEUED or RUNNING."""
    request_id: str = ""
    """The caller's key for retries, or empty."""
    digest: bytes = b""
    """A digest of the request, to detect a different one with the same ``request_id``."""
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL_AFTER_GRACE
    """What happens when its last reader disconnects."""
    waited: bool = False
    """Whether it had to wait in the queue of its session; its first event is then ``queued``."""
    sequence_limit: int = 0
    """The upper limit of its sequence numbers: none beyond it was ever sent."""
    last_sequence: int = 0
    """The sequence number of its last event, once it has ended."""
    session_etag: str = ""
    """The etag of the session after the exchange, once the turn has succeeded."""
    key: str = ""
    """The id of the API key of the call, or empty."""
    labels: Mapping[str, str] = {}
    """For whom or what the call was made."""
    hold: Hold | None = None
    """What it holds of the limits of its caller; only while it is QUEUED or RUNNING."""
    booked: int = 0
    """How many of ``attempts`` are in the usage ledger."""
    details: Mapping[str, Any] = {}
    """What the edge that began it keeps with it, as JSON."""
    lifetime: int | None = None
    """How long it can be found after its end; ``None``: as long as the server keeps turns."""
    shortened: int = 0
    """By how much ``lifetime`` is shorter than the retention period of the server, as it was when the turn began."""

    @property
    def retained_since(self) -> int | None:
        """When its retention period begins: at its end, or earlier if it has less of the period than other turns;
        ``None`` while it has not ended."""
        return None if self.end_time is None else self.end_time - self.shortened

    def expired(self, now: int) -> bool:
        """Whether it can no longer be found at the time ``now``, although it may still be stored."""
        if self.lifetime is None or self.end_time is None:
            return False
        # Without a lifetime no clock counts: one that lags must not bring the turn back.
        return self.lifetime == 0 or self.end_time + self.lifetime <= now

    @property
    def name(self) -> str:
        """The full resource name."""
        return turn_name(self.session, self.id)


def turn_name(session: str, turn: str) -> str:
    """The full resource name of a turn, from the ids of its session (or empty) and its own."""
    return f"sessions/{session}/turns/{turn}" if session else f"turns/{turn}"
