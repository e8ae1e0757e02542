"""Assembles an answer from the events of its turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcp_client._core.responses.events import event
from mcp_client.errors import Details, InternalError, RequestError
from mcp_client.values import (
    AttemptSwitched,
    Delta,
    Event,
    Heartbeat,
    Logprob,
    PartStarted,
    Reply,
    TurnCompleted,
    TurnQueued,
    TurnStarted,
)


class Answer:
    """The answer of a turn, as far as its events have been received.

    Args:
        turn: the full name of the turn, if it is known.
        sequence: the last event that was received before.

    Attributes:
        turn: the full name of the turn, once it is known.
        sequence: the last event that was received.
        model: the ``provider/model`` that answers, once it is known.
        reply: the complete answer, once the turn has succeeded.
    """

    def __init__(self, turn: str = "", sequence: int = 0) -> None:
        self.turn = turn
        self._first = sequence
        self.sequence = sequence
        self.model = ""
        self.reply: Reply | None = None
        self._texts: list[str] = []
        self._refusals: set[int] = set()
        self._logprobs: list[Logprob] = []

    @property
    def text(self) -> str:
        """The text so far, without that of abandoned attempts."""
        return self.reply.text if self.reply is not None else "".join(self._texts)

    def add(self, received: Any) -> Event | None:
        """Add an event, and return it; ``None`` if this version of the client does not know its kind."""
        added = event(received, self.turn)
        if isinstance(added, Delta):
            self.sequence = added.sequence
            if added.text and added.part not in self._refusals:
                self._texts.append(added.text)
            self._logprobs += added.logprobs
            return added
        if added is None or isinstance(added, Heartbeat):  # a heartbeat repeats the number of the last event
            return added
        self.sequence = added.sequence
        if isinstance(added, PartStarted):
            if added.kind == "refusal":
                self._refusals.add(added.part)
        elif isinstance(added, TurnQueued):
            self.turn = added.turn
        elif isinstance(added, TurnStarted):
            self.turn, self.model = added.turn, added.model
        elif isinstance(added, AttemptSwitched):
            self.model = added.to_model
            if added.restarted:
                self._texts.clear()
                self._refusals.clear()
                self._logprobs.clear()
        elif isinstance(added, TurnCompleted):
            if self._logprobs and not self._first:  # only if none are missing
                added = replace(added, reply=replace(added.reply, logprobs=tuple(self._logprobs)))
            self.reply = added.reply
            self.turn = added.reply.turn
        return added

    def complete(self) -> Reply:
        """The complete answer, after the stream has ended without an error.

        Raises:
            RequestError: the stream began after the last event.
            InternalError: the stream ended without an answer.
        """
        if self.reply is None and self.sequence == self._first > 0:
            raise RequestError(
                f"the turn has no events after {self._first}: it has ended, and get_turn returns its answer",
                Details(code="OUT_OF_RANGE"),
            )
        if self.reply is None:
            raise InternalError("the server ended the stream without an answer or an error", Details(code="INTERNAL"))
        return self.reply
