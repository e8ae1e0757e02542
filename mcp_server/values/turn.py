"""Turns and their attempts."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from mcp_server.values.base import Struct
from mcp_server.values.generation import OnDisconnect
from mcp_server.values.message import FinishReason, Message
from mcp_server.values.usage import Usage


class TurnState(enum.StrEnum):
    """Where in its life a turn is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINAL = frozenset((TurnState.SUCCEEDED, TurnState.FAILED, TurnState.CANCELLED))
"""The states that never change again."""
UNFINISHED = frozenset((TurnState.QUEUED, TurnState.RUNNING))
"""The states in which a process works on the turn and holds its lease."""


class Window(Struct):
    """What of a session's history a model saw."""

    first_message: int = 0
    """The index of the oldest message that was used."""
    used_messages: int = 0
    """How many messages of the history were used."""
    dropped_messages: int = 0
    """How many older ones were left out."""
    input_tokens: int = 0
    """The length of the whole prompt in tokens; an estimate unless the provider can count."""


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
    """When the call was sent."""
    first_token_duration: int | None = None
    """How long the first token took; ``None`` if none came."""
    duration: int = 0
    """How long the call took."""
    usage: Usage = Usage()
    """What it took."""
    delivered_tokens: int = 0
    """How many tokens of it reached the turn."""
    cost_nanos: int = 0
    """What it cost, in billionths of ``currency``; 0 if no price is configured."""
    currency: str = ""
    """An ISO 4217 code, or empty."""
    outcome: TurnState = TurnState.RUNNING
    """How it ended."""
    error: TurnError | None = None
    """Why it did not succeed."""


class Lease(Struct):
    """Which server process runs an unfinished turn, and until when nobody else may."""

    owner: str
    """The id of the process."""
    address: str = ""
    """Where other servers reach it, ``host:port``, or empty."""
    expire_time: int | None = None
    """When the lease ends unless it is renewed, by the store's clock; ``None`` in a store of one server, where it never
    ends."""


class Turn(Struct):
    """One request to a model and its answer, as it is kept."""

    tenant: str
    """Whose it is."""
    id: str
    """The last part of its resource name."""
    service: str
    """``chat`` or ``completion``."""
    state: TurnState
    """Where in its life it is."""
    create_time: int
    """When the server accepted it."""
    session: str = ""
    """The id of its session, or empty."""
    session_uid: str = ""
    """The uid of its session, or empty."""
    start_time: int | None = None
    """When its first attempt began."""
    end_time: int | None = None
    """When it ended."""
    message: Message | None = None
    """The answer as far as it is known."""
    finish_reason: FinishReason | None = None
    """Why the model stopped."""
    usage: Usage = Usage()
    """What all its attempts took together."""
    window: Window = Window()
    """What of the history the model saw."""
    attempts: tuple[Attempt, ...] = ()
    """Every call to a provider, in order."""
    error: TurnError | None = None
    """Why it did not succeed."""
    fence: int = 0
    """The fencing number: it grows by one each time a process takes the turn on. A process that holds an older number
    has lost the turn."""
    lease: Lease | None = None
    """Who runs it; only while it is QUEUED or RUNNING."""
    request_id: str = ""
    """The caller's key for retries, or empty."""
    digest: bytes = b""
    """Tells the request that ``request_id`` stands for from any other."""
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL_AFTER_GRACE
    """What happens when nobody reads it any more."""
    waited: bool = False
    """Whether it had to wait for its session: then its first event is ``queued``."""
    sequence_limit: int = 0
    """Its events may be numbered up to here: what lies beyond was never issued."""
    last_sequence: int = 0
    """The number of its last event, once it has ended."""
    session_etag: str = ""
    """The session's etag after the exchange, once it has succeeded."""

    @property
    def name(self) -> str:
        """The full resource name."""
        return turn_name(self.session, self.id)


def turn_name(session: str, turn: str) -> str:
    """The full resource name of a turn, from the ids of its session (or empty) and its own."""
    return f"sessions/{session}/turns/{turn}" if session else f"turns/{turn}"
