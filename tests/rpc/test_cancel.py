"""Stopping a turn: CancelTurn, and readers that leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import chat_pb2, generation_pb2, message_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent
from mcp_server.settings import Config, ModelSettings
from mcp_server.stores.memory_settings import MemorySettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.rpc.conftest import GRACE
from tests.wire import Refused, Wire, collect, deltas, text_of, user

CONTINUE = generation_pb2.ON_DISCONNECT_CONTINUE
CANCEL = generation_pb2.ON_DISCONNECT_CANCEL


def chat(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("go")], **fields)


async def begun(serve: Serve, config: Config, *scripts: Any) -> tuple[Wire, ScriptedProvider]:
    provider = ScriptedProvider(*scripts)
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    return wire, provider


async def stop(wire: Wire, turn: str) -> turn_pb2.Turn:
    stopped: turn_pb2.Turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn))
    return stopped


async def test_a_cancelled_turn_stops_at_the_provider_and_frees_its_session(serve: Serve, config: Config) -> None:
    """In less than a second; what was generated is kept and counted, the history is as it was."""
    wire, provider = await begun(serve, config, ["one ", "two", Gate()], ["fine", Finish()])
    stream = wire.chat.StreamChat(chat())
    events = [await stream.read() for _ in range(3)]
    start = time.monotonic()
    turn = await stop(wire, events[0].started.turn)
    await asyncio.wait_for(provider.stopped.wait(), 1)
    assert time.monotonic() - start < 1
    assert turn.state == turn_pb2.TURN_STATE_CANCELLED
    assert text_of(turn.message) == "one two"
    assert turn.error.reason == turn_pb2.TurnError(reason="ERROR_REASON_TURN_CANCELLED").reason
    assert turn.usage.output_tokens > 0
    assert turn.usage.source == message_pb2.Usage.SOURCE_ESTIMATED
    (attempt,) = turn.attempts
    assert (attempt.outcome, attempt.delivered_tokens) == (turn.state, turn.usage.output_tokens)
    with Refused() as refused:
        await collect(stream)
    assert (refused.code, refused.reason) == (grpc.StatusCode.CANCELLED, "TURN_CANCELLED")
    assert await wire.history() == []
    await wire.say("again")
    assert [text for _, text in await wire.history()] == ["again", "fine"]


async def test_cancelling_is_idempotent(serve: Serve, config: Config) -> None:
    """Of what has ended it returns how; twice and at once it is the same; what never was is not found."""
    wire, _ = await begun(serve, config, ["one", Gate()], ["two", Finish()])
    stream = wire.chat.StreamChat(chat())
    name = (await stream.read()).started.turn
    turns = await asyncio.gather(*[stop(wire, name) for _ in range(5)])
    assert all(turn == turns[0] for turn in turns)
    assert await stop(wire, name) == turns[0] == await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    answer = await wire.say("again")
    assert (await stop(wire, answer.turn)).state == turn_pb2.TURN_STATE_SUCCEEDED
    with Refused() as refused:
        await stop(wire, "sessions/tour/turns/none")
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")


async def test_a_cancel_that_races_the_end_has_one_outcome(serve: Serve, config: Config) -> None:
    """Whatever wins, the caller, the turn and the history agree."""
    outcomes = set()
    for delay in range(12):
        gate = Gate()
        wire, _ = await begun(serve, config, ["one", gate, Finish()])
        call = asyncio.create_task(collect(wire.chat.StreamChat(chat())))
        await gate.reached.wait()
        (running,) = (await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))).turns
        gate.open()
        for _ in range(delay):
            await asyncio.sleep(0)
        turn = await stop(wire, running.name)
        history = await wire.history()
        if turn.state == turn_pb2.TURN_STATE_SUCCEEDED:
            assert (await call)[-1].completed.message == turn.message
            assert len(history) == 2
        else:
            assert turn.state == turn_pb2.TURN_STATE_CANCELLED
            with Refused() as refused:
                await call
            assert refused.reason == "TURN_CANCELLED"
            assert history == []
        outcomes.add(turn.state)
        await wire.server.stop()
        config = await elsewhere(config)
    assert outcomes <= {turn_pb2.TURN_STATE_SUCCEEDED, turn_pb2.TURN_STATE_CANCELLED}


async def elsewhere(config: Config) -> Config:
    """The same settings with another file."""
    assert isinstance(config.store, SQLiteSettings | MemorySettings)
    assert config.store.path is not None
    path = config.store.path.with_name(config.store.path.name + "x")
    return msgspec.structs.replace(config, store=msgspec.structs.replace(config.store, path=path))


async def test_by_default_a_turn_without_readers_ends_after_the_grace(serve: Serve, config: Config) -> None:
    """Not before, and then its provider stops."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one", gate])
    stream = wire.chat.StreamChat(chat())
    name = (await stream.read()).started.turn
    await gate.reached.wait()
    start = time.monotonic()
    stream.cancel()
    await asyncio.wait_for(provider.stopped.wait(), 5)
    assert time.monotonic() - start >= GRACE * 0.9
    await wire.server.idle()
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert (turn.state, text_of(turn.message)) == (turn_pb2.TURN_STATE_CANCELLED, "one")


async def test_a_reader_that_comes_back_in_time_keeps_the_turn_alive(serve: Serve, config: Config) -> None:
    """It gets the rest, and the turn ends well."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one ", gate, "two", Finish()])
    request = chat(request_id="r")
    stream = wire.chat.StreamChat(request)
    events = [await stream.read()]
    while not deltas(events):
        events.append(await stream.read())
    stream.cancel()
    request.after_sequence = events[-1].sequence
    again = wire.chat.StreamChat(request)
    rest = asyncio.create_task(collect(again))
    await asyncio.sleep(2 * GRACE)
    gate.open()
    assert deltas(events) + deltas(await rest) == "one two"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_a_viewer_keeps_a_turn_alive_too(serve: Serve, config: Config) -> None:
    """The last reader of any RPC counts."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one ", gate, "two", Finish()])
    stream = wire.chat.StreamChat(chat(on_disconnect=CANCEL))
    name = (await stream.read()).started.turn
    await gate.reached.wait()
    viewer = wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=name))
    await viewer.read()
    stream.cancel()
    await asyncio.sleep(GRACE)
    gate.open()
    assert deltas(await collect(viewer)) == "one two"
    assert provider.cancelled == 0


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_cancel_stops_the_turn_with_its_last_reader(serve: Serve, config: Config, unary: bool) -> None:
    """However the reader leaves: here by its own deadline."""
    wire, provider = await begun(serve, config, ["one", Gate()], ["fine", Finish()])
    request = chat(on_disconnect=CANCEL)
    with Refused() as refused:
        if unary:
            await wire.chat.Chat(request, timeout=0.2)
        else:
            await collect(wire.chat.StreamChat(request, timeout=0.2))
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(provider.stopped.wait(), 1)
    await wire.server.idle()
    await wire.say("b")
    assert [text for _, text in await wire.history()] == ["b", "fine"]


async def test_continue_runs_to_the_end_without_readers(serve: Serve, config: Config) -> None:
    """The exchange is committed, and whoever asks later gets all of it."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one ", gate, "two", Finish()])
    request = chat(on_disconnect=CONTINUE, request_id="r")
    stream = wire.chat.StreamChat(request)
    await stream.read()
    await gate.reached.wait()
    stream.cancel()
    await asyncio.sleep(2 * GRACE)
    gate.open()
    await wire.server.idle()
    assert [text for _, text in await wire.history()] == ["go", "one two"]
    assert deltas(await collect(wire.chat.StreamChat(request))) == "one two"
    assert (len(provider.requests), provider.cancelled) == (1, 0)


async def test_the_first_call_decides_what_a_disconnect_means(serve: Serve, config: Config) -> None:
    """A second one that joins with another wish changes nothing."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one", gate, Finish()])
    first = wire.chat.StreamChat(chat(request_id="r", on_disconnect=CONTINUE))
    await first.read()
    await gate.reached.wait()
    second = wire.chat.StreamChat(chat(request_id="r", on_disconnect=CANCEL))
    await second.read()
    first.cancel()
    second.cancel()
    await asyncio.sleep(2 * GRACE)
    gate.open()
    await wire.server.idle()
    assert provider.cancelled == 0
    assert len(await wire.history()) == 2


async def test_a_deleted_session_ends_its_turns_and_their_readers(serve: Serve, config: Config) -> None:
    """Running and waiting ones: NOT_FOUND, and they are gone."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one", gate])
    running = wire.chat.StreamChat(chat(request_id="r"))
    name = (await running.read()).started.turn
    await gate.reached.wait()
    waiting = wire.chat.StreamChat(chat(if_busy=generation_pb2.IF_BUSY_QUEUE))
    assert (await waiting.read()).HasField("queued")
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    for stream in (running, waiting):
        with Refused() as refused:
            await collect(stream)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    await asyncio.wait_for(provider.stopped.wait(), 1)
    await wire.create()
    with Refused() as refused:
        await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert refused.reason == "TURN_NOT_FOUND"


class Lingering(EchoProvider):
    """Takes its time to stop."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        yield "one"
        try:
            await asyncio.Event().wait()
        finally:
            await self.released.wait()


async def test_a_turn_of_a_deleted_session_is_found_no_more(serve: Serve, config: Config) -> None:
    """Also while its provider has not stopped yet, and nobody reads it."""
    provider = Lingering()
    wire = await serve(
        msgspec.structs.replace(config, models=ModelSettings(default="echo/echo")), providers={"echo": provider}
    )
    await wire.create()
    stream = wire.chat.StreamChat(chat(on_disconnect=CONTINUE))
    name = (await stream.read()).started.turn
    stream.cancel()
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    for call in (
        wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name)),
        collect(wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=name))),
        stop(wire, name),
    ):
        with Refused() as refused:
            await call
        assert refused.reason == "TURN_NOT_FOUND"
    provider.released.set()
    await wire.server.idle()


async def test_a_turn_prevents_the_expiry_of_its_session(serve: Serve, config: Config) -> None:
    """It may run longer than the session would have lived."""
    now = 10**18

    def clock() -> int:
        return now

    gate = Gate()
    provider = ScriptedProvider(["one", gate, Finish()])
    wire = await serve(config, providers={"scripted": provider}, clock=clock)
    await wire.create(ttl=duration_pb2.Duration(seconds=10))
    call = asyncio.create_task(wire.say("go"))
    await gate.reached.wait()
    now += 60 * 10**9
    await wire.server.sweep()
    gate.open()
    await call
    assert len(await wire.history()) == 2
    now += 11 * 10**9
    with Refused() as refused:
        await wire.history()
    assert refused.reason == "SESSION_NOT_FOUND"
