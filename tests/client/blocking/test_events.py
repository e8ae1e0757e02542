# Generated from tests/client/test_events.py by scripts/generate: edit that file.

"""How the events of a turn fold into an answer, from servers that are newer, or worse, than those of today."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contextprotocol.v1 import errors_pb2, generation_pb2, message_pb2, turn_pb2
from mcp_client import (
    AttemptSwitched,
    Delta,
    FinishReason,
    Heartbeat,
    InternalError,
    Logprob,
    MCPSyncClient,
    PartStarted,
    Role,
    SyncTurnStream,
    TurnQueued,
    Window,
)
from tests.client.blocking.beside import StandIn
from tests.client.stand_in import OK

Event = turn_pb2.TurnEvent


@contextmanager
def streamed(*events: Event | bytes) -> Iterator[SyncTurnStream]:
    """An answer of these events."""
    server = StandIn(events)
    with server, MCPSyncClient(server.address) as client, client.stream_chat("Hi") as stream:
        yield stream


def text(sequence: int, piece: str, part: int = 0) -> Event:
    """A piece of text."""
    return Event(sequence=sequence, delta=turn_pb2.Delta(part=part, text=piece))


def test_a_restart_drops_what_came_before() -> None:
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
    with streamed(*events) as stream:
        seen = list(stream.events())
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
    with streamed(*events) as stream:
        assert list(stream) == ["dropped ", "kept, ", "and gone on with"]


def test_words_that_decline_are_no_part_of_the_text() -> None:
    """They come with the pieces, as what they are."""
    events = [
        Event(sequence=1, part_started=turn_pb2.PartStarted(part=0, kind=turn_pb2.PartStarted.KIND_TEXT)),
        text(2, "Well. "),
        Event(sequence=3, part_started=turn_pb2.PartStarted(part=1, kind=turn_pb2.PartStarted.KIND_REFUSAL)),
        text(4, "I will not.", part=1),
    ]
    with streamed(*events) as stream:
        parts = [(e.part, e.kind) for e in stream.events() if isinstance(e, PartStarted)]
        assert parts == [(0, "text"), (1, "refusal")]
        assert stream.text == "Well. "


def test_what_is_newer_than_the_client_is_passed_over_or_unknown() -> None:
    """Events are left out, and names that are not known have a name for that."""
    new_event = Event(sequence=2).SerializeToString() + b"\xa2\x06\x00"  # field 100, which has no meaning yet
    answer = message_pb2.Message(role=77, parts=[message_pb2.Part(), message_pb2.Part(text="ok")])  # type: ignore[arg-type]  # newer
    events: list[Event | bytes] = [
        new_event,
        Event(sequence=3, part_started=turn_pb2.PartStarted(kind=99)),  # type: ignore[arg-type]  # newer than we are
        Event(sequence=3, heartbeat=turn_pb2.Heartbeat()),
        Event(sequence=4, completed=turn_pb2.TurnCompleted(message=answer, finish_reason=88)),  # type: ignore[arg-type]  # newer
    ]
    with streamed(*events) as stream:
        first, second, _ = list(stream.events())
        reply = stream.reply()
    assert isinstance(first, PartStarted)
    assert first.kind == "unknown"
    assert second == Heartbeat(sequence=3)
    assert (reply.text, reply.finish_reason, reply.message.role) == ("ok", FinishReason.UNKNOWN, Role.UNKNOWN)


def test_log_probabilities_come_with_their_pieces() -> None:
    """And with those of the tokens that were not taken."""
    top = [generation_pb2.Logprob(token="ok", logprob=-0.5), generation_pb2.Logprob(token="no", logprob=-1.5)]
    delta = turn_pb2.Delta(text="ok", logprobs=[generation_pb2.Logprob(token="ok", logprob=-0.5, top=top)])
    with streamed(Event(sequence=1, delta=delta), OK) as stream:
        piece = next(stream.events())
    assert isinstance(piece, Delta)
    assert piece.logprobs == (
        Logprob(token="ok", logprob=-0.5, top=(Logprob(token="ok", logprob=-0.5), Logprob(token="no", logprob=-1.5))),
    )


def test_an_end_without_an_answer_is_no_success() -> None:
    """The text is there, and the reply is an error."""
    with streamed(text(1, "Hel")) as stream:
        assert list(stream) == ["Hel"]
        with pytest.raises(InternalError, match="without an answer or an error"):
            stream.reply()


def test_an_answer_that_cannot_be_read_is_a_fault_of_the_server() -> None:
    """And not one of the caller's."""
    with pytest.raises(InternalError, match="ChatService/StreamChat"):
        with streamed(b"\xff\xff") as stream:
            stream.reply()
