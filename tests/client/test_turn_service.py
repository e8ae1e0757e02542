"""Turns by their names: looked at, watched, stopped, waited for; and two calls on one session."""

from __future__ import annotations

import pytest

from mcp_client import (
    DeadlineExceeded,
    MCPClient,
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
from tests.client.beside import Gate, ScriptedProvider, sleep, spawn
from tests.client.conftest import Connect


async def test_a_turn_is_known_by_its_name(client: MCPClient) -> None:
    """All of it, and in the list of its session without its message."""
    session = await client.create_session("tour")
    reply = await client.chat("Hello there", session=session, request_id="mine")
    turn = await client.get_turn(reply.turn)
    assert (turn.name, turn.state, turn.request_id) == (reply.turn, TurnState.SUCCEEDED, "mine")
    assert turn.message is not None
    assert (turn.message.text, turn.finish_reason, turn.error) == ("Hello there", "stop", None)
    assert turn.start_time is not None
    assert turn.end_time is not None
    assert turn.create_time <= turn.start_time <= turn.end_time
    assert (turn.usage, turn.attempts) == (reply.usage, reply.attempts)
    assert turn.attempts[0].outcome is TurnState.SUCCEEDED
    later = [(await client.chat("Again", session=session)).turn for _ in range(3)]
    listed = [turn async for turn in client.list_turns(session, page_size=1)]
    assert [turn.name for turn in listed] == [*reversed(later), reply.turn]
    assert listed[-1].message is None or not listed[-1].message.parts
    with pytest.raises(TurnNotFound):
        await client.get_turn("sessions/tour/turns/nosuch")


async def test_a_turn_that_failed_says_why(connect: Connect) -> None:
    """As its caller was told, with what had been said."""
    client = await connect(ScriptedProvider(["Hel", ProviderUnavailable("the model fell over")]))
    async with client.stream_chat("Hi") as stream:
        with pytest.raises(Exception, match="fell over") as caught:
            await stream.reply()
    turn = await client.get_turn(stream.turn)
    assert turn.state is TurnState.FAILED
    assert turn.error is not None
    assert turn.message is not None
    assert (turn.error.code, turn.error.reason) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
    assert (turn.error.message, turn.message.text) == (str(caught.value), "Hel")


async def test_any_number_may_watch_a_turn(connect: Connect) -> None:
    """From any event on, live or from the record; and leaving stops nothing."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = await connect(provider)

    async def watch(after_sequence: int) -> str:
        async with client.stream_turn(stream.turn, after_sequence=after_sequence) as watching:
            assert (watching.turn, watching.request_id) == (stream.turn, "")
            reply = await watching.reply()
            assert (reply.text, reply.turn) == ("Hello", stream.turn)
            return watching.text

    async with client.stream_chat("Hi") as stream:
        await anext(stream)
        async with client.stream_turn(stream.turn) as left:
            assert await anext(left) == "Hel"
        live = [spawn(watch, number) for number in (0, stream.sequence)]
        gate.open()
        assert [await call.result() for call in live] == ["Hello", "Hello"]
        assert (await stream.reply()).text == "Hello"
    assert await watch(0) == "Hello"
    with pytest.raises(SequenceUnknown):
        await watch(stream.sequence + 1)
    with pytest.raises(TurnNotFound):
        async with client.stream_turn("turns/nosuch") as nothing:
            await nothing.reply()
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_a_stream_can_be_stopped(connect: Connect) -> None:
    """The turn comes back as it ended, its session is free, and the stream ends with the error that says so."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = await connect(provider)
    session = await client.create_session("tour")
    async with client.stream_chat("Hi", session=session) as stream:
        await anext(stream)
        turn = await stream.cancel()
        assert turn.state is TurnState.CANCELLED
        assert turn.message is not None
        assert turn.message.text == "Hel"
        assert turn.error is not None
        assert turn.error.reason == "TURN_CANCELLED"
        assert provider.cancelled == 1
        with pytest.raises(TurnCancelled) as caught:
            await anext(stream)
        assert caught.value.turn == turn.name == stream.turn
        assert (await client.chat("Hi", session=session)).text == "again"
    assert await client.cancel_turn(turn) == await client.get_turn(turn)
    with pytest.raises(TurnNotFound):
        await client.cancel_turn("turns/nosuch")


async def test_a_stop_of_a_turn_that_has_ended_changes_nothing(client: MCPClient) -> None:
    """It comes back as it is."""
    reply = await client.chat("Hello")
    assert (await client.cancel_turn(reply.turn)).state is TurnState.SUCCEEDED


async def test_a_turn_may_go_on_without_its_caller(connect: Connect) -> None:
    """If it was asked to, its answer is in the history when it is done."""
    gates = Gate(), Gate()
    scripts: list[list[Step]] = [["Hel", gate, "lo", Finish()] for gate in gates]
    provider = ScriptedProvider(*scripts)
    client = await connect(provider)
    session = await client.create_session("tour")
    async with client.stream_chat("Hi", session=session, on_disconnect="continue") as stream:
        await anext(stream)
    with pytest.raises(DeadlineExceeded):
        await client.chat("Hi", on_disconnect="continue", request_id="mine", timeout=0.1)
    for gate in gates:
        await gate.reached.wait()
        gate.open()
    async with client.stream_turn(stream.turn, after_sequence=stream.sequence) as watching:
        assert [token async for token in watching] == ["lo"]
        assert watching.turn == stream.turn
    assert [message.text async for message in client.list_messages(session)] == ["Hi", "Hello"]
    assert (await client.chat("Hi", on_disconnect="continue", request_id="mine")).text == "Hello"
    assert (len(provider.requests), provider.cancelled) == (2, 0)


async def test_a_unary_call_that_is_left_stops_its_turn(connect: Connect) -> None:
    """So that its session is free at once."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = await connect(provider)
    session = await client.create_session("tour")
    with pytest.raises(DeadlineExceeded):
        await client.chat("Hi", session=session, timeout=0.2)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (await client.chat("Hi", session=session)).text == "again"
    assert [turn.state async for turn in client.list_turns(session)] == ["succeeded", "cancelled"]


async def test_the_same_id_is_the_same_turn(connect: Connect) -> None:
    """Also for another client, streamed or not; another request under it is a mistake."""
    provider = ScriptedProvider.saying("one", "two")
    client = await connect(provider)
    session = await client.create_session("tour")
    first = await client.chat("Hi", session=session, request_id="mine")
    async with MCPClient(client.address) as other:
        assert await other.chat("Hi", session=session, request_id="mine") == first
        async with other.stream_chat("Hi", session=session, request_id="mine") as stream:
            assert (await stream.reply()).text == stream.text == "one"
            assert (stream.turn, stream.request_id) == (first.turn, "mine")
        with pytest.raises(RequestIdReused):
            await other.chat("Ho", session=session, request_id="mine")
        assert (await other.chat("Hi", session=session)).text == "two"
    assert len(provider.requests) == 2


async def test_sessions_and_messages_are_made_once(client: MCPClient) -> None:
    """However often the same id comes."""
    session = await client.create_session(request_id="a")
    assert (await client.create_session(request_id="a")).uid == session.uid
    for _ in range(2):
        await client.append_messages(session, "one", request_id="b")
    assert (await client.get_session(session)).message_count == 1
    fork = await client.fork_session(session, request_id="c")
    assert (await client.fork_session(session, request_id="c")).uid == fork.uid
    assert len([session async for session in client.list_sessions()]) == 2


async def test_another_process_goes_on_where_one_stopped(connect: Connect) -> None:
    """With the id and the last sequence; nothing begins for an id that nobody knows."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    client = await connect(provider)
    async with client.stream_chat("Hi", request_id="mine", on_disconnect="continue") as stream:
        assert await anext(stream) == "Hel"
    gate.open()
    async with client.stream_chat("Hi", request_id="mine", after_sequence=stream.sequence) as later:
        assert [token async for token in later] == ["lo"]
        assert (later.text, (await later.reply()).text, later.turn) == ("Hello", "Hello", stream.turn)
    with pytest.raises(TurnNotFound):
        async with client.stream_complete("Hi", request_id="mine", after_sequence=0) as nothing:
            await nothing.reply()
    with pytest.raises(ValueError, match="after_sequence"):
        client.stream_chat("Hi", after_sequence=0)
    assert len(provider.requests) == 1


async def test_a_call_waits_for_its_session_or_goes_ahead(connect: Connect) -> None:
    """As ``if_busy`` says; nobody who was stopped is in the history."""
    gate = Gate()
    provider = ScriptedProvider(
        ["stopped", Gate(), Finish()], ["first", gate, Finish()], ["second", Finish()], ["third", Finish()]
    )
    client = await connect(provider)
    session = await client.create_session("tour")

    async with client.stream_chat("0", session=session) as stream:
        await anext(stream)
        with pytest.raises(SessionBusy):
            await client.chat("1", session=session, if_busy="reject")
        ahead = spawn(client.chat, "1", session=session, if_busy="cancel_running")
        with pytest.raises(TurnCancelled):
            await anext(stream)
    await gate.reached.wait()
    async with client.stream_chat("2", session=session, if_busy="queue") as queued:
        event = await anext(queued.events())
        assert isinstance(event, TurnQueued)
        assert (event.turn, event.position) == (queued.turn, 1)
        last = spawn(client.chat, "3", session=session, if_busy="queue")
        while len([turn async for turn in client.list_turns(session)]) < 4:  # nobody tells of it
            await sleep(0.01)
        async with client.stream_chat("4", session=session, if_busy="queue") as left:
            assert isinstance(await anext(left.events()), TurnQueued)
        assert (await client.get_turn(left.turn)).state is TurnState.CANCELLED
        gate.open()
        assert (await queued.reply()).text == "second"
    assert ((await ahead.result()).text, (await last.result()).text) == ("first", "third")
    history = [message.text async for message in client.list_messages(session)]
    assert history == ["1", "first", "2", "second", "3", "third"]


async def test_a_full_queue_is_waited_for(connect: Connect) -> None:
    """The server says when to come back; a caller who will not wait is told so."""
    gate = Gate()
    client = await connect(ScriptedProvider(["first", gate, Finish()], ["ok", Finish()]))
    session = await client.create_session("tour")
    first = spawn(client.chat, "0", session=session)
    await gate.reached.wait()
    waiting = [spawn(client.chat, f"{n}", session=session, if_busy="queue") for n in range(1, 17)]
    while len([turn async for turn in client.list_turns(session)]) < 17:  # nobody tells of it
        await sleep(0.01)
    async with MCPClient(client.address, retry=None) as hasty:
        with pytest.raises(Overloaded):
            await hasty.chat("no", session=session, if_busy="queue")
    late = spawn(client.chat, "17", session=session, if_busy="queue")
    gate.open()
    assert {(await call.result()).text for call in (first, *waiting, late)} == {"first", "ok"}
    assert (await client.get_session(session)).message_count == 36
