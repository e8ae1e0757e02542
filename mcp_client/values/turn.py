"""Turns and their answers."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any, Generic, TypeVar

from mcp_client.values.message import FinishReason, Message, Usage
from mcp_client.values.plain import plain_fields

_SHOWN = 200
"""How much of a text a representation shows, in characters."""

Parsed = TypeVar("Parsed")
"""The type of an answer."""


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
class Logprob:
    """The log probability of a token."""

    token: str
    logprob: float
    top: Sequence[Logprob] = ()
    """The most likely tokens at this position."""


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
    logprobs: Sequence[Logprob] = ()
    """The log probabilities of the tokens of the text, if the call asked for them."""
    earlier: Sequence[Reply] = ()
    """The answers before this one that are part of the same call: those that called functions, and one that was
    repaired."""

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text

    @property
    def model(self) -> str:
        """The ``provider/model`` that answered."""
        return self.message.model

    @property
    def cost(self) -> Decimal | None:
        """The price of all attempts in ``currency``; ``None`` if the server has none for them, or they are of several
        currencies."""
        return _cost(self.attempts)

    @property
    def currency(self) -> str:
        """The ISO 4217 code of ``cost``, or empty."""
        return _currency(self.attempts)

    @property
    def total_usage(self) -> Usage:
        """The token counts of this answer and of those in ``earlier``."""
        return reduce(add, [reply.usage for reply in self.earlier], self.usage)

    @property
    def total_cost(self) -> Decimal | None:
        """The cost of this answer and of those in ``earlier``, as ``cost``."""
        return _cost([attempt for reply in (*self.earlier, self) for attempt in reply.attempts])

    def to_dict(self) -> dict[str, Any]:
        """All fields and properties, for JSON: times are RFC 3339, costs texts, and bytes base64."""
        cost, total = self.cost, self.total_cost
        return {
            "text": self.text,
            "model": self.model,
            "cost": None if cost is None else str(cost),
            "currency": self.currency,
            "total_cost": None if total is None else str(total),
            **plain_fields(self),
            "usage": self.usage.to_dict(),
            "total_usage": self.total_usage.to_dict(),
        }

    def __str__(self) -> str:
        return self.message.text

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}…"
        return (
            f"{type(self).__qualname__}(text={text!r}, model={self.model!r}, "
            f"finish_reason={self.finish_reason.value!r}, input_tokens={self.usage.input_tokens}, "
            f"output_tokens={self.usage.output_tokens}, turn={self.turn!r})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply(Reply, Generic[Parsed]):
    """A :class:`Reply` whose answer is a value of the type that the call asked for."""

    parsed: Parsed
    """The value."""

    def to_dict(self) -> dict[str, Any]:
        """The same as of a :class:`Reply`. ``text`` has the value, as the model wrote it."""
        values = {each.name: getattr(self, each.name) for each in fields(Reply)}
        return Reply(**values).to_dict()

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}(parsed={self.parsed!r}, model={self.model!r}, turn={self.turn!r})"


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


def _cost(attempts: Sequence[Attempt]) -> Decimal | None:
    return sum([attempt.cost for attempt in attempts], Decimal(0)) if _currency(attempts) else None


def _currency(attempts: Sequence[Attempt]) -> str:
    """The only currency; empty if there are several or none."""
    currencies = {attempt.currency for attempt in attempts if attempt.currency}
    return currencies.pop() if len(currencies) == 1 else ""
