"""The events of a turn, as its readers receive them."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct
from mcp_server.values.generation import Logprob
from mcp_server.values.message import FinishReason, Message, ProviderState
from mcp_server.values.turn import Attempt, Window
from mcp_server.values.usage import Usage


class Queued(Struct, tag="queued"):
    """The turn is waiting in the queue of its session: the first event of such a turn."""

    turn: str
    """The turn's full name."""
    position: int
    """The number of turns ahead of it, including the running one."""


class Started(Struct, tag="started"):
    """The turn has started: the first event of a turn that did not wait."""

    turn: str
    """The turn's full name."""
    model: str
    """``provider/model``."""
    provider: str
    """The provider's configured name."""
    window: Window
    """The part of the history that is in the prompt."""
    session_etag: str = ""
    """The etag of the session when the turn started; empty without a session."""


class PartStarted(Struct, tag="part_started"):
    """A new part of the answer has started."""

    part: int
    """The index of the part."""
    kind: str
    """``text``, ``reasoning``, ``refusal``, ``tool_call`` or ``provider_state``."""
    tool_call_id: str = ""
    """The id of the call; only of a ``tool_call``."""
    tool_name: str = ""
    """The name of the tool; only of a ``tool_call``."""


class Delta(Struct, tag="delta"):
    """A piece of a part, or its state."""

    part: int
    """The index of the part."""
    kind: str
    """The kind of the part."""
    text: str
    """The piece; of a ``tool_call``, a piece of its arguments; empty with a ``provider_state``."""
    logprobs: tuple[Logprob, ...] = ()
    """One for each token of the piece, if the request asks for them."""
    provider_state: ProviderState | None = None
    """The state of the part, in a delta of its own and at most once for each part."""


class SwitchMode(enum.StrEnum):
    """What happens to the answer so far when another attempt takes over."""

    RESTARTED = "restarted"
    """All parts so far are discarded, and indexes start at 0 again."""
    CONTINUED = "continued"
    """The new attempt continues where the previous one stopped."""


class Switched(Struct, tag="switched"):
    """Another attempt takes over."""

    from_model: str
    """The ``provider/model`` of the previous attempt."""
    to_model: str
    """The ``provider/model`` of the new attempt."""
    reason: str
    """The reason of the error that ended the previous attempt."""
    window: Window
    """The part of the history that is in the new prompt."""
    mode: SwitchMode
    """What happens to the answer so far."""


class Heartbeat(Struct):
    """No other event has been sent for a while. It is not stored."""


class Completed(Struct):
    """The turn has succeeded: always the last event, and only of a turn that succeeds."""

    message: Message
    """The whole answer, as it is stored."""
    finish_reason: FinishReason
    """Why the model stopped."""
    usage: Usage
    """The tokens of all attempts together."""
    attempts: tuple[Attempt, ...]
    """All calls to providers, in order."""
    session_etag: str
    """The etag of the session after the exchange; empty without a session."""
    time_to_first_token: int | None
    """Nanoseconds from the acceptance of the call to the first token; ``None`` for an empty answer."""
    duration: int
    """Nanoseconds from the acceptance of the call to the end of the turn."""


Event = Queued | Started | PartStarted | Delta | Switched | Heartbeat | Completed
