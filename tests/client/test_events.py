"""How the events of a turn fold into an answer, from servers that are newer, or worse, than those of today."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contextprotocol.v1 import errors_pb2, generation_pb2, message_pb2, turn_pb2
from mcp_client import (
    AttemptSwitched,
    Delta,
    FinishReason,
    Heartbeat,
    InternalError,
    Logprob,
    MCPClient,
    PartStarted,
    Role,
    TurnQueued,
    TurnStream,
    Window,
)
from tests.client.beside import StandIn
from tests.client.stand_in import OK

Event = turn_pb2.TurnEvent


@asynccontextmanager
async def streamed(*events: Event | bytes) -> AsyncIterator[TurnStream]:
    """An answer of these events."""
    server = StandIn(events)
    async with server, MCPClient(server.address) as client, client.stream_chat("Hi") as stream:
        yield stream


def text(sequence: int, piece: str, part: int = 0) -> Event:
    """A piece of text."""
    return Event(sequence=sequence, delta=turn_pb2.Delta(part=part, text=piece))


async def test_a_restart_drops_what_came_before() -> None:
    """The pieces come, and the text so far begins anew; a continuation goes on."""
    events = [
        Event(sequence=1, queued=turn_pb2.TurnQueued(turn="turns/t", position=2)),
        Event(sequence=2, started=turn_pb2.TurnStarted(turn="turns/t", model="a/a")),
        Event(sequence=3, part_started=turn_pb2.PartStarted(kind=turn_pb2.PartStarted.KIND_TEXT)),
        text(4, "dropped "),
        Event(
            sequence=5,
            switched=turn_pb2.AttemptSwitched(
                from_model="a/a",
                to_model="b/b",
                reason=errors_pb2.ERROR_REASON_PROVIDER_STREAM_CUT,
                mode=turn_pb2.AttemptSwitched.MODE_RESTARTED,
                window=turn_pb2.Window(used_messages=3, dropped_messages=2),
            ),
        ),
        text(6, "kept, "),
        Event(
            sequence=7,
            switched=turn_pb2.AttemptSwitched(
                from_model="b/b", to_model="c/c", mode=turn_pb2.AttemptSwitched.MODE_CONTINUED
            ),
        ),
        text(8, "and gone on with"),
    ]
    async with streamed(*events) as stream:
        seen = [event async for event in stream.events()]
        assert stream.text == "kept, and gone on with"
        assert (stream.turn, stream.model) == ("turns/t", "c/c")
    assert seen[0] == TurnQueued(sequence=1, turn="turns/t", position=2)
    assert seen[4] == AttemptSwitched(
        sequence=5,
        from_model="a/a",
        to_model="b/b",
        restarted=True,
        reason="PROVIDER_STREAM_CUT",
        window=Window(first_message=0, used_messages=3, dropped_messages=2, input_tokens=0),
    )
    async with streamed(*events) as stream:
        assert [token async for token in stream] == ["dropped ", "kept, ", "and gone on with"]


async def test_words_that_decline_are_no_part_of_the_text() -> None:
    """They come with the pieces, as what they are."""
    events = [
        Event(sequence=1, part_started=turn_pb2.PartStarted(part=0, kind=turn_pb2.PartStarted.KIND_TEXT)),
        text(2, "Well. "),
        Event(sequence=3, part_started=turn_pb2.PartStarted(part=1, kind=turn_pb2.PartStarted.KIND_REFUSAL)),
        text(4, "I will not.", part=1),
    ]
    async with streamed(*events) as stream:
        parts = [(e.part, e.kind) async for e in stream.events() if isinstance(e, PartStarted)]
        assert parts == [(0, "text"), (1, "refusal")]
        assert stream.text == "Well. "


async def test_what_is_newer_than_the_client_is_passed_over_or_unknown() -> None:
    """Events are left out, and names that are not known have a name for that."""
    new_event = Event(sequence=2).SerializeToString() + b"\xa2\x06\x00"  # field 100, which has no meaning yet
    answer = message_pb2.Message(role=77, parts=[message_pb2.Part(), message_pb2.Part(text="ok")])  # type: ignore[arg-type]  # newer
    events: list[Event | bytes] = [
        new_event,
        Event(sequence=3, part_started=turn_pb2.PartStarted(kind=99)),  # type: ignore[arg-type]  # newer than we are
        Event(sequence=3, heartbeat=turn_pb2.Heartbeat()),
        Event(sequence=4, completed=turn_pb2.TurnCompleted(message=answer, finish_reason=88)),  # type: ignore[arg-type]  # newer
    ]
    async with streamed(*events) as stream:
        first, second, _ = [event async for event in stream.events()]
        reply = await stream.reply()
    assert isinstance(first, PartStarted)
    assert first.kind == "unknown"
    assert second == Heartbeat(sequence=3)
    assert (reply.text, reply.finish_reason, reply.message.role) == ("ok", FinishReason.UNKNOWN, Role.UNKNOWN)


async def test_log_probabilities_come_with_their_pieces() -> None:
    """And with those of the tokens that were not taken."""
    top = [generation_pb2.Logprob(token="ok", logprob=-0.5), generation_pb2.Logprob(token="no", logprob=-1.5)]
    delta = turn_pb2.Delta(text="ok", logprobs=[generation_pb2.Logprob(token="ok", logprob=-0.5, top=top)])
    async with streamed(Event(sequence=1, delta=delta), OK) as stream:
        piece = await anext(stream.events())
    assert isinstance(piece, Delta)
    assert piece.logprobs == (
        Logprob(token="ok", logprob=-0.5, top=(Logprob(token="ok", logprob=-0.5), Logprob(token="no", logprob=-1.5))),
    )


async def test_an_end_without_an_answer_is_no_success() -> None:
    """The text is there, and the reply is an error."""
    async with streamed(text(1, "Hel")) as stream:
        assert [token async for token in stream] == ["Hel"]
        with pytest.raises(InternalError, match="without an answer or an error"):
            await stream.reply()


async def test_an_answer_that_cannot_be_read_is_a_fault_of_the_server() -> None:
    """And not one of the caller's."""
    with pytest.raises(InternalError, match="ChatService/StreamChat"):
        async with streamed(b"\xff\xff") as stream:
            await stream.reply()
