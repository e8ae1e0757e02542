"""Much at once, and a clock that jumps: each turn still has one end, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.settings import Config, TurnSettings
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, user

MANY = 200


@pytest.fixture
def config(config: Config) -> Config:
    """One connection has room for them all."""
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, max_streams=1000))


def ask(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Tell me.")], **fields)


async def outcome(call: Any) -> str:
    """The text, or the reason of the refusal."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        text: str = (await call).completed.message.parts[0].text
        return text
    with Refused() as refused:
        await call
    return refused.reason


async def nothing_left(wire: Wire) -> None:
    """No turn runs, is known by its request or stands in a queue, and no session is held."""
    turns: Any = wire.server._turns
    await turns.idle()
    live = turns._live
    assert (live._by_id, live._by_request, len(turns._queues), turns._ownership.live) == ({}, {}, 0, set())


async def test_equal_calls_at_once_are_one_turn(serve: Serve, config: Config) -> None:
    """Hundreds, unary and streamed, before, while and after it runs: one call to the provider, one answer for all."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    request = ask(request_id="r")
    streams = [wire.chat.StreamChat(request) for _ in range(MANY // 2)]
    calls = [wire.chat.Chat(request) for _ in range(MANY // 2)]
    await gate.reached.wait()
    late = [wire.chat.Chat(request) for _ in range(MANY // 2)]
    gate.open()
    texts = [deltas(events) for events in await asyncio.gather(*[collect(stream) for stream in streams])]
    answers = await asyncio.gather(*calls, *late)
    assert set(texts) == {"one two"}
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert len(provider.requests) == 1
    assert len(await wire.history()) == 2
    await nothing_left(wire)


async def test_a_storm_on_one_session(serve: Serve, config: Config) -> None:
    """Calls that take the place of others, wait or are refused, and cancels between them: what was answered is in the
    history, whole and alone."""
    seed = random.randrange(1 << 32)  # noqa: S311  # no secret
    print(f"seed {seed}")  # noqa: T201  # a failure can be had again
    generator = random.Random(seed)  # noqa: S311  # no secret
    config = msgspec.structs.replace(config, turns=TurnSettings(max_queued=8, journal_interval=0.01))
    provider = ScriptedProvider(["one ", 0.003, "two ", 0.003, "three", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    modes = [generation_pb2.IF_BUSY_REJECT, generation_pb2.IF_BUSY_QUEUE, generation_pb2.IF_BUSY_CANCEL_RUNNING]

    async def cancel() -> None:
        listed = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour", page_size=3))
        for turn in listed.turns:
            await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn.name))

    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(MANY):
            tasks.append(
                group.create_task(
                    outcome(wire.chat.Chat(ask(if_busy=generator.choice(modes), request_id=str(number)), timeout=20))
                )
            )
            if generator.random() < 0.2:
                group.create_task(cancel())
            await asyncio.sleep(generator.choice([0, 0, 0.002, 0.01]))
    outcomes = [task.result() for task in tasks]
    assert set(outcomes) <= {"one two three", "TURN_CANCELLED", "SESSION_BUSY", "OVERLOADED"}
    answered = outcomes.count("one two three")
    assert answered
    assert len(await wire.history(page_size=1000)) == 2 * answered
    await nothing_left(wire)


async def test_a_clock_that_jumps_back(serve: Serve, config: Config) -> None:
    """By an hour in the middle of a turn: it ends well, in no less than no time, and the session goes on."""
    offset = 0
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    wire = await serve(config, providers={"scripted": provider}, clock=lambda: time.time_ns() - offset)
    await wire.create()
    call = wire.chat.Chat(ask(request_id="r"))
    await gate.reached.wait()
    offset = 3600 * 10**9
    gate.open()
    done = (await call).completed
    assert done.duration.ToNanoseconds() >= 0
    assert done.attempts[0].duration.ToNanoseconds() >= 0
    assert (await wire.chat.Chat(ask(request_id="r"))).completed == done
    await wire.say("And?")
    assert len(await wire.history()) == 4
    await nothing_left(wire)


async def test_a_record_that_is_swept_while_it_is_asked_for(serve: Serve, config: Config) -> None:
    """It is whole, or not there: never an answer without its text."""
    offset = 0
    provider = ScriptedProvider(["one two", Finish()])
    wire = await serve(config, providers={"scripted": provider}, clock=lambda: time.time_ns() + offset)
    await wire.create()
    names = [(await wire.chat.Chat(ask(request_id=str(number)))).turn for number in range(20)]
    offset = 48 * 3600 * 10**9

    async def get(name: str) -> str:
        try:
            turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return ""
        return "".join(part.text for part in turn.message.parts) or "nothing"

    async def watch(name: str) -> str:
        stream = wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=name))
        try:
            return deltas(await collect(stream)) or "nothing"
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return ""

    asked = [asyncio.create_task(read(name)) for name in names for read in (get, watch) for _ in range(5)]
    await asyncio.sleep(0.01)
    await wire.server.sweep()
    assert set(await asyncio.gather(*asked)) <= {"one two", ""}
    assert set(await asyncio.gather(*[get(name) for name in names])) == {""}
