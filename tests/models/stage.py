"""A server with faulty providers behind it, and what its callers and its operators see of one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from contextprotocol.v1 import chat_pb2, embedding_pb2, errors_pb2, message_pb2, turn_pb2
from tests.upstream.server import Upstream
from tests.wire import Refused, Wire, collect, text_of, user

NAMES = ("first", "second", "third")
"""The providers, in the order in which they are asked."""
MODEL = "m"
"""The one model of each."""
SUCCEEDED = turn_pb2.TURN_STATE_SUCCEEDED
FAILED = turn_pb2.TURN_STATE_FAILED
CANCELLED = turn_pb2.TURN_STATE_CANCELLED
RESTARTED = turn_pb2.AttemptSwitched.MODE_RESTARTED
CONTINUED = turn_pb2.AttemptSwitched.MODE_CONTINUED
REPORTED = message_pb2.Usage.SOURCE_REPORTED
ESTIMATED = message_pb2.Usage.SOURCE_ESTIMATED


@dataclass(kw_only=True)
class CallResult:
    """What one call came to: for its caller, and in the store."""

    events: list[turn_pb2.TurnEvent]
    """All that the caller received."""
    turn: turn_pb2.Turn
    """What is kept of it."""
    refused: Refused | None = None
    """How it failed."""

    @property
    def reason(self) -> str:
        """Of the failure, or empty."""
        return self.refused.reason if self.refused is not None else ""

    @property
    def text(self) -> str:
        """What a caller has who does as the contract says: who is told of a restart drops what came before."""
        pieces: list[str] = []
        for event in self.events:
            if event.HasField("switched") and event.switched.mode == RESTARTED:
                pieces.clear()
            pieces.append(event.delta.text)
        return "".join(pieces)

    @property
    def switches(self) -> list[tuple[str, str, str, int]]:
        """From where to where, why, and how."""
        return [
            (
                one.from_model,
                one.to_model,
                errors_pb2.ErrorReason.Name(one.reason).removeprefix("ERROR_REASON_"),
                one.mode,
            )
            for one in (event.switched for event in self.events if event.HasField("switched"))
        ]

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """The ledger: who was asked, how that ended, and why."""
        return [(row.provider, row.outcome, reason_of(row)) for row in self.turn.attempts]


@dataclass(kw_only=True)
class Stage:
    """The server and what stands behind it."""

    wire: Wire
    upstreams: Sequence[Upstream]

    @property
    def calls(self) -> list[int]:
        """How many calls each provider has seen."""
        return [len(upstream.calls) for upstream in self.upstreams]

    async def ask(self, text: str = "go on", **fields: Any) -> CallResult:
        """Send one chat, to its end."""
        return await self.read(self.begin(text, **fields))

    def begin(self, text: str = "go on", **fields: Any) -> Any:
        """Send one chat, and return its stream."""
        return self.wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user(text)], **fields))

    async def read(self, stream: Any, before: Sequence[turn_pb2.TurnEvent] = ()) -> CallResult:
        """Read a stream to its end; ``before`` is what was read of it."""
        events = list(before)
        refused: Refused | None = None
        try:
            await collect(stream, into=events)
        except grpc.aio.AioRpcError as error:
            refused = Refused()
            refused.__exit__(type(error), error, None)
        name = events[0].started.turn if events else ""
        if refused is not None:
            name = name or refused.metadata.get("turn", "")
        turn = await self.turn(name) if name else turn_pb2.Turn()
        return CallResult(events=events, turn=turn, refused=refused)

    async def turn(self, name: str) -> turn_pb2.Turn:
        """A turn as it is kept."""
        turn: turn_pb2.Turn = await self.wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
        return turn

    def audit(self, result: CallResult) -> None:
        """Hold the ledger of a turn to the books: one row for each call, and what was reported as it was reported.

        For a stage on which nothing else was asked.
        """
        for name, upstream in zip(NAMES, self.upstreams, strict=False):
            rows = [row for row in result.turn.attempts if row.provider == name]
            assert len(rows) == len(upstream.calls)
            for row, call in zip(rows, upstream.calls, strict=True):
                assert row.model == call.body["model"]
                if row.usage.source == REPORTED:
                    assert reported(row.usage) == call.reported
                else:
                    assert row.outcome != SUCCEEDED or call.reported is None
                    assert (row.usage.output_tokens > 0) == (row.delivered_tokens > 0)
        total = result.turn.usage
        assert total.input_tokens == sum(row.usage.input_tokens for row in result.turn.attempts)
        assert total.output_tokens == sum(row.usage.output_tokens for row in result.turn.attempts)

    async def embed(self, *inputs: str) -> embedding_pb2.EmbedResponse:
        """Vectors of texts."""
        response: embedding_pb2.EmbedResponse = await self.wire.embedding.Embed(
            embedding_pb2.EmbedRequest(inputs=inputs)
        )
        return response


def reason_of(row: turn_pb2.Attempt) -> str:
    """Why an attempt did not succeed, or empty."""
    if not row.HasField("error"):
        return ""
    return errors_pb2.ErrorReason.Name(row.error.reason).removeprefix("ERROR_REASON_")


def reported(usage: message_pb2.Usage) -> dict[str, Any]:
    """The usage as the upstream words it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def kept(turn: turn_pb2.Turn) -> str:
    """The text that is kept of a turn."""
    return text_of(turn.message)
