# Generated from tests/client/test_turn_service.py by scripts/generate: edit that file.

"""Turns by their names: looked at, watched, stopped, waited for; and two calls on one session."""

from __future__ import annotations

import pytest

from mcp_client import (
    DeadlineExceeded,
    MCPSyncClient,
    Overloaded,
    RequestIdReused,
    SequenceUnknown,
    SessionBusy,
    TurnCancelled,
    TurnNotFound,
    TurnQueued,
    TurnState,
)
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.testing import Step
from tests.client.blocking.beside import Gate, ScriptedProvider, sleep, spawn
from tests.client.blocking.conftest import Connect


def test_a_turn_is_known_by_its_name(client: MCPSyncClient) -> None:
    """All of it, and in the list of its session without its message."""
    session = client.create_session("tour")
    reply = client.chat("Hello there", session=session, request_id="mine")
    turn = client.get_turn(reply.turn)
    assert (turn.name, turn.state, turn.request_id) == (reply.turn, TurnState.SUCCEEDED, "mine")
    assert turn.message is not None
    assert (turn.message.text, turn.finish_reason, turn.error) == ("Hello there", "stop", None)
    assert turn.start_time is not None
    assert turn.end_time is not None
    assert turn.create_time <= turn.start_time <= turn.end_time
    assert (turn.usage, turn.attempts) == (reply.usage, reply.attempts)
    assert turn.attempts[0].outcome is TurnState.SUCCEEDED
    later = [(client.chat("Again", session=session)).turn for _ in range(3)]
    listed = list(client.list_turns(session, page_size=1))
    assert [turn.name for turn in listed] == [*reversed(later), reply.turn]
    assert listed[-1].message is None or not listed[-1].message.parts
    with pytest.raises(TurnNotFound):
        client.get_turn("sessions/tour/turns/nosuch")


def test_a_turn_that_failed_says_why(connect: Connect) -> None:
    """As its caller was told, with what had been said."""
    client = connect(ScriptedProvider(["Hel", ProviderUnavailable("the model fell over")]))
    with client.stream_chat("Hi") as stream:
        with pytest.raises(Exception, match="fell over") as caught:
            stream.reply()
    turn = client.get_turn(stream.turn)
    assert turn.state is TurnState.FAILED
    assert turn.error is not None
    assert turn.message is not None
    assert (turn.error.code, turn.error.reason) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
    assert (turn.error.message, turn.message.text) == (str(caught.value), "Hel")


def test_any_number_may_watch_a_turn(connect: Connect) -> None:
    """From any event on, live or from the record; and leaving stops nothing."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = connect(provider)

    def watch(after_sequence: int) -> str:
        with client.stream_turn(stream.turn, after_sequence=after_sequence) as watching:
            assert (watching.turn, watching.request_id) == (stream.turn, "")
            reply = watching.reply()
            assert (reply.text, reply.turn) == ("Hello", stream.turn)
            return watching.text

    with client.stream_chat("Hi") as stream:
        next(stream)
        with client.stream_turn(stream.turn) as left:
            assert next(left) == "Hel"
        live = [spawn(watch, number) for number in (0, stream.sequence)]
        gate.open()
        assert [call.result() for call in live] == ["Hello", "Hello"]
        assert (stream.reply()).text == "Hello"
    assert watch(0) == "Hello"
    with pytest.raises(SequenceUnknown):
        watch(stream.sequence + 1)
    with pytest.raises(TurnNotFound):
        with client.stream_turn("turns/nosuch") as nothing:
            nothing.reply()
    assert (len(provider.requests), provider.cancelled) == (1, 0)


def test_a_stream_can_be_stopped(connect: Connect) -> None:
    """The turn comes back as it ended, its session is free, and the stream ends with the error that says so."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = connect(provider)
    session = client.create_session("tour")
    with client.stream_chat("Hi", session=session) as stream:
        next(stream)
        turn = stream.cancel()
        assert turn.state is TurnState.CANCELLED
        assert turn.message is not None
        assert turn.message.text == "Hel"
        assert turn.error is not None
        assert turn.error.reason == "TURN_CANCELLED"
        assert provider.cancelled == 1
        with pytest.raises(TurnCancelled) as caught:
            next(stream)
        assert caught.value.turn == turn.name == stream.turn
        assert (client.chat("Hi", session=session)).text == "again"
    assert client.cancel_turn(turn) == client.get_turn(turn)
    with pytest.raises(TurnNotFound):
        client.cancel_turn("turns/nosuch")


def test_a_stop_of_a_turn_that_has_ended_changes_nothing(client: MCPSyncClient) -> None:
    """It comes back as it is."""
    reply = client.chat("Hello")
    assert (client.cancel_turn(reply.turn)).state is TurnState.SUCCEEDED


def test_a_turn_may_go_on_without_its_caller(connect: Connect) -> None:
    """If it was asked to, its answer is in the history when it is done."""
    gates = Gate(), Gate()
    scripts: list[list[Step]] = [["Hel", gate, "lo", Finish()] for gate in gates]
    provider = ScriptedProvider(*scripts)
    client = connect(provider)
    session = client.create_session("tour")
    with client.stream_chat("Hi", session=session, on_disconnect="continue") as stream:
        next(stream)
    with pytest.raises(DeadlineExceeded):
        client.chat("Hi", on_disconnect="continue", request_id="mine", timeout=0.1)
    for gate in gates:
        gate.reached.wait()
        gate.open()
    with client.stream_turn(stream.turn, after_sequence=stream.sequence) as watching:
        assert list(watching) == ["lo"]
        assert watching.turn == stream.turn
    assert [message.text for message in client.list_messages(session)] == ["Hi", "Hello"]
    assert (client.chat("Hi", on_disconnect="continue", request_id="mine")).text == "Hello"
    assert (len(provider.requests), provider.cancelled) == (2, 0)


def test_a_unary_call_that_is_left_stops_its_turn(connect: Connect) -> None:
    """So that its session is free at once."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = connect(provider)
    session = client.create_session("tour")
    with pytest.raises(DeadlineExceeded):
        client.chat("Hi", session=session, timeout=0.2)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (client.chat("Hi", session=session)).text == "again"
    assert [turn.state for turn in client.list_turns(session)] == ["succeeded", "cancelled"]


def test_the_same_id_is_the_same_turn(connect: Connect) -> None:
    """Also for another client, streamed or not; another request under it is a mistake."""
    provider = ScriptedProvider.saying("one", "two")
    client = connect(provider)
    session = client.create_session("tour")
    first = client.chat("Hi", session=session, request_id="mine")
    with MCPSyncClient(client.address) as other:
        assert other.chat("Hi", session=session, request_id="mine") == first
        with other.stream_chat("Hi", session=session, request_id="mine") as stream:
            assert (stream.reply()).text == stream.text == "one"
            assert (stream.turn, stream.request_id) == (first.turn, "mine")
        with pytest.raises(RequestIdReused):
            other.chat("Ho", session=session, request_id="mine")
        assert (other.chat("Hi", session=session)).text == "two"
    assert len(provider.requests) == 2


def test_sessions_and_messages_are_made_once(client: MCPSyncClient) -> None:
    """However often the same id comes."""
    session = client.create_session(request_id="a")
    assert (client.create_session(request_id="a")).uid == session.uid
    for _ in range(2):
        client.append_messages(session, "one", request_id="b")
    assert (client.get_session(session)).message_count == 1
    fork = client.fork_session(session, request_id="c")
    assert (client.fork_session(session, request_id="c")).uid == fork.uid
    assert len(list(client.list_sessions())) == 2


def test_another_process_goes_on_where_one_stopped(connect: Connect) -> None:
    """With the id and the last sequence; nothing begins for an id that nobody knows."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = connect(provider)
    with client.stream_chat("Hi", request_id="mine", on_disconnect="continue") as stream:
        assert next(stream) == "Hel"
    gate.open()
    with client.stream_chat("Hi", request_id="mine", after_sequence=stream.sequence) as later:
        assert list(later) == ["lo"]
        assert (later.text, (later.reply()).text, later.turn) == ("Hello", "Hello", stream.turn)
    with pytest.raises(TurnNotFound):
        with client.stream_complete("Hi", request_id="mine", after_sequence=0) as nothing:
            nothing.reply()
    with pytest.raises(ValueError, match="after_sequence"):
        client.stream_chat("Hi", after_sequence=0)
    assert len(provider.requests) == 1


def test_a_call_waits_for_its_session_or_goes_ahead(connect: Connect) -> None:
    """As ``if_busy`` says; nobody who was stopped is in the history."""
    gate = Gate()
    provider = ScriptedProvider(
        ["stopped", Gate(), Finish()], ["first", gate, Finish()], ["second", Finish()], ["third", Finish()]
    )
    client = connect(provider)
    session = client.create_session("tour")

    with client.stream_chat("0", session=session) as stream:
        next(stream)
        with pytest.raises(SessionBusy):
            client.chat("1", session=session, if_busy="reject")
        ahead = spawn(client.chat, "1", session=session, if_busy="cancel_running")
        with pytest.raises(TurnCancelled):
            next(stream)
    gate.reached.wait()
    with client.stream_chat("2", session=session, if_busy="queue") as queued:
        event = next(queued.events())
        assert isinstance(event, TurnQueued)
        assert (event.turn, event.position) == (queued.turn, 1)
        last = spawn(client.chat, "3", session=session, if_busy="queue")
        while len(list(client.list_turns(session))) < 4:  # nobody tells of it
            sleep(0.01)
        with client.stream_chat("4", session=session, if_busy="queue") as left:
            assert isinstance(next(left.events()), TurnQueued)
        assert (client.get_turn(left.turn)).state is TurnState.CANCELLED
        gate.open()
        assert (queued.reply()).text == "second"
    assert ((ahead.result()).text, (last.result()).text) == ("first", "third")
    history = [message.text for message in client.list_messages(session)]
    assert history == ["1", "first", "2", "second", "3", "third"]


def test_a_full_queue_is_waited_for(connect: Connect) -> None:
    """The server says when to come back; a caller who will not wait is told so."""
    gate = Gate()
    client = connect(ScriptedProvider(["first", gate, Finish()], ["ok", Finish()]))
    session = client.create_session("tour")
    first = spawn(client.chat, "0", session=session)
    gate.reached.wait()
    waiting = [spawn(client.chat, f"{n}", session=session, if_busy="queue") for n in range(1, 17)]
    while len(list(client.list_turns(session))) < 17:  # nobody tells of it
        sleep(0.01)
    with MCPSyncClient(client.address, retry=None) as hasty:
        with pytest.raises(Overloaded):
            hasty.chat("no", session=session, if_busy="queue")
    late = spawn(client.chat, "17", session=session, if_busy="queue")
    gate.open()
    assert {(call.result()).text for call in (first, *waiting, late)} == {"first", "ok"}
    assert (client.get_session(session)).message_count == 36
