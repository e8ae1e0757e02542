"""The events of a turn, as its readers receive them."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct
from mcp_server.values.generation import Logprob
from mcp_server.values.message import FinishReason, Message
from mcp_server.values.turn import Attempt, Window
from mcp_server.values.usage import Usage


class Queued(Struct, tag="queued"):
    """The turn waits for its session: the first event of one that does."""

    turn: str
    """The turn's full name."""
    position: int
    """How many turns go before it, the running one included."""


class Started(Struct, tag="started"):
    """The turn begins: the first event of one that did not wait."""

    turn: str
    """The turn's full name."""
    model: str
    """``provider/model``."""
    provider: str
    """The provider's configured name."""
    window: Window
    """What of the history the model sees."""
    session_etag: str = ""
    """The session's etag when the turn began; empty without a session."""


class PartStarted(Struct, tag="part_started"):
    """A new part of the answer begins."""

    part: int
    """Its index."""
    kind: str
    """``text``, ``reasoning``, ``refusal`` or ``tool_call``."""
    tool_call_id: str = ""
    """The call's id; only of a ``tool_call``."""
    tool_name: str = ""
    """The tool; only of a ``tool_call``."""


class Delta(Struct):
    """A piece of a part."""

    part: int
    """The part's index."""
    kind: str
    """The part's kind."""
    text: str
    """The piece; of a ``tool_call``, a piece of its arguments."""
    logprobs: tuple[Logprob, ...] = ()
    """One a token of the piece, if asked for."""


class SwitchMode(enum.StrEnum):
    """What becomes of the answer when another attempt takes over."""

    RESTARTED = "restarted"
    """All parts so far are dropped, and indexes begin at 0 again."""
    CONTINUED = "continued"
    """The new attempt goes on where the old one stopped."""


class Switched(Struct, tag="switched"):
    """Another attempt takes over."""

    from_model: str
    """The ``provider/model`` that answered so far."""
    to_model: str
    """The ``provider/model`` that answers now."""
    reason: str
    """Why: the reason of an error."""
    window: Window
    """What of the history the new model sees."""
    mode: SwitchMode
    """What becomes of the answer so far."""


class Heartbeat(Struct):
    """Nothing else has happened for a while. It is sent and not recorded."""


class Completed(Struct):
    """The turn succeeded: always the last event, and of a successful turn only."""

    message: Message
    """The whole answer, as it is stored."""
    finish_reason: FinishReason
    """Why the model stopped."""
    usage: Usage
    """What all attempts took together."""
    attempts: tuple[Attempt, ...]
    """Every call to a provider."""
    session_etag: str
    """The session's etag after the exchange; empty without a session."""
    time_to_first_token: int | None
    """Nanoseconds from the acceptance of the call; ``None`` for an empty answer."""
    duration: int
    """Nanoseconds from the acceptance of the call."""


Event = Queued | Started | PartStarted | Delta | Switched | Heartbeat | Completed
