"""Turns over the end of a server: drained, interrupted, resumed by the next one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, errors_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.settings import Config
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, text_of, user


@pytest.fixture
def disk(tmp_path: Path) -> Config:
    """Settings for servers that follow one another on one file."""
    return msgspec.structs.replace(
        settings(default_model="scripted/scripted"), store=SQLiteSettings(path=tmp_path / "sessions.db")
    )


def chat(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("go")], request_id="r", **fields)


async def get(wire: Wire, name: str) -> turn_pb2.Turn:
    turn: turn_pb2.Turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    return turn


async def interrupted(serve: Serve, disk: Config, *, session: bool = True) -> list[turn_pb2.TurnEvent]:
    """The events of a turn that a server was stopped in."""
    wire = await serve(disk, providers={"scripted": ScriptedProvider(["one ", "two ", Gate()])})
    if session:
        await wire.create()
    stream = wire.chat.StreamChat(chat() if session else chat_pb2.ChatRequest(messages=[user("go")], request_id="r"))
    events = [await stream.read()]
    while deltas(events) != "one two ":
        events.append(await stream.read())
    await wire.server.stop(grace=0)
    with Refused() as refused:
        await collect(stream, into=events)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert refused.retry_after == 1
    return events


async def test_a_page_token_outlives_its_server(serve: Serve, disk: Config, tmp_path: Path) -> None:
    """It leads on at the next server with the same store, and at no server with another one."""
    wire = await serve(disk)
    for name in ("one", "two"):
        await wire.create(name)
    request = session_pb2.ListSessionsRequest(page_size=1)
    request.page_token = (await wire.sessions.ListSessions(request)).next_page_token
    await wire.server.stop()
    wire = await serve(disk)
    assert [session.name for session in (await wire.sessions.ListSessions(request)).sessions] == ["sessions/two"]
    other = msgspec.structs.replace(disk, store=SQLiteSettings(path=tmp_path / "other.db"))
    wire = await serve(other)
    with Refused() as refused:
        await wire.sessions.ListSessions(request)
    assert "page_token" in refused.violations


async def test_a_finished_turn_is_replayed_by_the_next_server(serve: Serve, disk: Config) -> None:
    """The same events with the same numbers; the provider is not asked."""
    wire = await serve(disk, providers={"scripted": ScriptedProvider(["one ", "two", Finish()])})
    await wire.create()
    first = await collect(wire.chat.StreamChat(chat()))
    await wire.server.stop()
    provider = ScriptedProvider.saying("never")
    wire = await serve(disk, providers={"scripted": provider})
    again = await collect(wire.chat.StreamChat(chat()))
    assert deltas(again) == deltas(first)
    assert (again[0], again[-1]) == (first[0], first[-1])
    assert not provider.requests


async def test_an_interrupted_turn_runs_again_as_a_further_attempt(serve: Serve, disk: Config) -> None:
    """The caller who resumes is told to drop what it had; numbers go on; the ledger shows both attempts."""
    events = await interrupted(serve, disk)
    turn, last = events[0].started.turn, events[-1].sequence
    provider = ScriptedProvider(["three", Finish()])
    wire = await serve(disk, providers={"scripted": provider})
    before = await get(wire, turn)
    assert (before.state, text_of(before.message)) == (turn_pb2.TURN_STATE_INTERRUPTED, "one two ")
    assert [attempt.outcome for attempt in before.attempts] == [turn_pb2.TURN_STATE_INTERRUPTED]
    session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert (session.active_turn, session.message_count) == ("", 0)
    rest = await collect(wire.chat.StreamChat(chat(after_sequence=last)))
    assert [event.WhichOneof("event") for event in rest] == ["switched", "part_started", "delta", "completed"]
    switched = rest[0].switched
    assert switched.mode == turn_pb2.AttemptSwitched.MODE_RESTARTED
    assert switched.reason == errors_pb2.ERROR_REASON_TURN_INTERRUPTED
    assert (switched.from_model, switched.to_model) == ("scripted/scripted", "scripted/scripted")
    numbers = [event.sequence for event in (*events, *rest)]
    assert numbers == sorted(set(numbers))
    completed = rest[-1].completed
    assert [attempt.outcome for attempt in completed.attempts] == [
        turn_pb2.TURN_STATE_INTERRUPTED,
        turn_pb2.TURN_STATE_SUCCEEDED,
    ]
    assert completed.usage.output_tokens == sum(attempt.usage.output_tokens for attempt in completed.attempts)
    after = await get(wire, turn)
    assert (after.name, after.state, after.message) == (turn, turn_pb2.TURN_STATE_SUCCEEDED, completed.message)
    assert [text for _, text in await wire.history()] == ["go", "three"]
    assert len(provider.requests) == 1


@pytest.mark.parametrize("session", [True, False], ids=["session", "none"])
async def test_a_new_reader_sees_all_attempts(serve: Serve, disk: Config, session: bool) -> None:
    """Live and replayed: started once, the abandoned text, the switch, the rest."""
    events = await interrupted(serve, disk, session=session)
    wire = await serve(disk, providers={"scripted": ScriptedProvider(["three", Finish()])})
    request = chat() if session else chat_pb2.ChatRequest(messages=[user("go")], request_id="r")
    live = await collect(wire.chat.StreamChat(request))
    replayed = await collect(wire.chat.StreamChat(request))
    for seen in (live, replayed):
        kinds = [event.WhichOneof("event") for event in seen]
        assert kinds == ["started", "part_started", "delta", "switched", "part_started", "delta", "completed"]
        assert seen[2].delta.text == "one two "
        assert seen[-1] == live[-1]
    assert live[0] == events[0]
    assert text_of(live[-1].completed.message) == "three"


async def test_the_record_of_an_interrupted_turn_can_be_read(serve: Serve, disk: Config) -> None:
    """StreamTurn gives what there was, ends TURN_INTERRUPTED, and starts nothing."""
    events = await interrupted(serve, disk)
    provider = ScriptedProvider.saying("x")
    wire = await serve(disk, providers={"scripted": provider})
    again: list[turn_pb2.TurnEvent] = []
    with Refused() as refused:
        await collect(wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=events[0].started.turn)), into=again)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "TURN_INTERRUPTED")
    assert deltas(again) == "one two "
    assert not provider.requests


async def test_an_interrupted_turn_can_be_given_up(serve: Serve, disk: Config) -> None:
    """Cancelled, it is final: its request gets CANCELLED and runs no more."""
    events = await interrupted(serve, disk)
    provider = ScriptedProvider.saying("x")
    wire = await serve(disk, providers={"scripted": provider})
    turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=events[0].started.turn))
    assert (turn.state, text_of(turn.message)) == (turn_pb2.TURN_STATE_CANCELLED, "one two ")
    with Refused() as refused:
        await wire.chat.Chat(chat())
    assert refused.reason == "TURN_CANCELLED"
    assert not provider.requests


async def test_an_interrupted_turn_claims_its_session_anew(serve: Serve, disk: Config) -> None:
    """It is refused while another turn runs, stays as it was, and then sees the history as it is."""
    await interrupted(serve, disk)
    gate = Gate()
    provider = ScriptedProvider([gate, "other", Finish()], ["three", Finish()])
    wire = await serve(disk, providers={"scripted": provider})
    other = asyncio.create_task(wire.say("meanwhile"))
    await gate.reached.wait()
    with Refused() as refused:
        await collect(wire.chat.StreamChat(chat()))
    assert refused.reason == "SESSION_BUSY"
    gate.open()
    await other
    answer = await wire.chat.Chat(chat())
    assert text_of(answer.completed.message) == "three"
    assert [message.text for message in provider.requests[1].messages] == ["meanwhile", "other", "go"]
    assert [text for _, text in await wire.history()] == ["meanwhile", "other", "go", "three"]


async def test_a_turn_that_waited_waits_again(serve: Serve, disk: Config) -> None:
    """It was interrupted before any attempt: nothing is dropped, and it begins as if new."""
    gate = Gate()
    wire = await serve(disk, providers={"scripted": ScriptedProvider([gate])})
    await wire.create()
    running = asyncio.create_task(wire.say("first"))
    await gate.reached.wait()
    request = chat(if_busy=generation_pb2.IF_BUSY_QUEUE)
    stream = wire.chat.StreamChat(request)
    queued = await stream.read()
    await wire.server.stop(grace=0)
    for call in (running, collect(stream)):
        with Refused() as refused:
            await call
        assert refused.reason == "DRAINING"
    wire = await serve(disk, providers={"scripted": ScriptedProvider.saying("answer")})
    request.after_sequence = queued.sequence
    events = await collect(wire.chat.StreamChat(request))
    assert [event.WhichOneof("event") for event in events] == ["started", "part_started", "delta", "completed"]
    assert events[0].started.turn == queued.queued.turn
    assert len(events[-1].completed.attempts) == 1


async def test_readers_may_come_while_the_server_drains(serve: Serve, disk: Config) -> None:
    """To running turns by key and by name; new work is refused; what is done in time is done."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    wire = await serve(disk, providers={"scripted": provider})
    await wire.create()
    first = wire.chat.StreamChat(chat())
    turn = (await first.read()).started.turn
    await gate.reached.wait()
    stopping = asyncio.create_task(wire.server.stop(grace=30))
    await asyncio.sleep(0)
    again = wire.chat.StreamChat(chat(after_sequence=1))
    viewer = wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=turn))
    await again.read()
    await viewer.read()
    for request in (
        chat_pb2.ChatRequest(messages=[user("new")]),
        chat_pb2.ChatRequest(messages=[user("new")], request_id="new"),
    ):
        with Refused() as refused:
            await wire.chat.Chat(request)
        assert (refused.code, refused.reason, refused.retry_after) == (grpc.StatusCode.UNAVAILABLE, "DRAINING", 1)
    gate.open()
    for stream in (first, again, viewer):
        assert (await collect(stream))[-1].HasField("completed")
    await stopping
    assert len(provider.requests) == 1


async def test_equal_calls_after_a_restart_are_one_more_attempt(serve: Serve, disk: Config) -> None:
    """All callers come back at once: the provider is asked once more, and all get that answer."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate], ["fine", Finish()])
    wire = await serve(disk, providers={"scripted": provider})
    await wire.create()
    streams = [wire.chat.StreamChat(chat()) for _ in range(100)]
    for stream in streams:
        assert (await stream.read()).HasField("started")
    await wire.server.stop(grace=0)
    for stream in streams:
        with Refused() as refused:
            await collect(stream)
        assert refused.reason == "DRAINING"
    wire = await serve(disk, providers={"scripted": provider})
    answers = await asyncio.gather(*[wire.chat.Chat(chat()) for _ in streams])
    assert {text_of(answer.completed.message) for answer in answers} == {"fine"}
    assert {len(answer.completed.attempts) for answer in answers} == {2}
    assert len(provider.requests) == 2
    assert len(await wire.history()) == 2
