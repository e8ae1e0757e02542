"""Resume: from every sequence, live or finished, any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, turn_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, ReasoningDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.settings import Config
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.values import Capabilities, FinishReason, Model
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, user

SCRIPT = [
    ReasoningDelta(text="hm"),
    "one ",
    "two ",
    ToolCallStart(id="c", name="add"),
    ToolArgumentsDelta(id="c", text="{"),
]
SCRIPT += [ToolArgumentsDelta(id="c", text="}"), "three", Finish(reason=FinishReason.TOOL_CALLS)]


def by_request(wire: Wire, turn: str, after: int) -> Any:
    return wire.chat.StreamChat(request(after_sequence=after))


def by_name(wire: Wire, turn: str, after: int) -> Any:
    return wire.turns.StreamTurn(turn_pb2.StreamTurnRequest(name=turn, after_sequence=after))


def request(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("go")], request_id="r", **fields)


ways = pytest.mark.parametrize("resume", [by_request, by_name])
Way = Callable[[Wire, str, int], Any]


async def begun(serve: Serve, config: Config, *script: Any) -> Wire:
    model = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True))
    wire = await serve(config, providers={"scripted": ScriptedProvider(list(script), model=model)})
    await wire.create()
    return wire


@ways
async def test_a_finished_turn_is_resumed_from_every_sequence(serve: Serve, config: Config, resume: Way) -> None:
    """What was seen and what comes is the whole, whatever was merged."""
    wire = await begun(serve, config, *SCRIPT)
    events = await collect(wire.chat.StreamChat(request()))
    turn, last = events[0].started.turn, events[-1].sequence
    whole = flat(events)
    for after in range(last + 1):
        rest = await collect(resume(wire, turn, after))
        assert all(event.sequence > after for event in rest)
        assert flat(events, upto=after) + flat(rest) == whole or after not in {event.sequence for event in events}
    with Refused() as refused:
        await collect(resume(wire, turn, last + 1))
    assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "SEQUENCE_UNKNOWN")


def flat(events: list[turn_pb2.TurnEvent], *, upto: int | None = None) -> list[tuple[str, int, str]]:
    """The events without what merging changes: every character of a delta alone."""
    result = []
    for event in events:
        if upto is not None and event.sequence > upto:
            break
        if event.HasField("delta"):
            piece = event.delta.text + event.delta.reasoning + event.delta.tool_arguments
            result += [("delta", event.delta.part, character) for character in piece]
        else:
            result.append((str(event.WhichOneof("event")), 0, ""))
    return result


@ways
async def test_a_running_turn_is_resumed_from_every_sequence(serve: Serve, config: Config, resume: Way) -> None:
    """Readers come at every number while it runs; each gets the rest as it comes."""
    gate = Gate()
    wire = await begun(serve, config, *SCRIPT[:-2], gate, *SCRIPT[-2:])
    first = wire.chat.StreamChat(request())
    started = await first.read()
    await gate.reached.wait()
    turn = started.started.turn
    # started, two parts of three, six deltas
    readers = [asyncio.create_task(collect(resume(wire, turn, after))) for after in range(9)]
    await asyncio.sleep(0.05)
    with Refused() as refused:
        await collect(resume(wire, turn, 1000))
    assert refused.reason == "SEQUENCE_UNKNOWN"
    gate.open()
    whole = [started, *await collect(first)]
    for after, reader in enumerate(readers):
        rest = await reader
        assert all(event.sequence > after for event in rest)
        assert flat(rest) == flat(whole)[-len(flat(rest)) :]
        assert rest[-1] == whole[-1]


@ways
async def test_after_the_last_event_a_reader_waits_or_ends(serve: Serve, config: Config, resume: Way) -> None:
    """While the turn runs it waits for more; afterwards it ends at once."""
    gate = Gate()
    wire = await begun(serve, config, "one", gate, Finish())
    first = wire.chat.StreamChat(request())
    turn = (await first.read()).started.turn
    await gate.reached.wait()
    reader = asyncio.create_task(collect(resume(wire, turn, 3)))
    gate.open()
    (completed,) = await reader
    assert completed.HasField("completed")
    assert await collect(resume(wire, turn, completed.sequence)) == []


@ways
async def test_a_failed_turn_is_read_to_its_error(serve: Serve, config: Config, resume: Way) -> None:
    """What had been generated comes again, then the recorded status; at the end at once."""
    wire = await begun(serve, config, "half", ProviderUnavailable("down"))
    events: list[turn_pb2.TurnEvent] = []
    with Refused() as first:
        await collect(wire.chat.StreamChat(request()), into=events)
    turn, last = events[0].started.turn, events[-1].sequence
    for after, text in ((0, "half"), (last, "")):
        again: list[turn_pb2.TurnEvent] = []
        with Refused() as refused:
            await collect(resume(wire, turn, after), into=again)
        assert deltas(again) == text
        assert (refused.code, refused.reason, refused.details) == (first.code, first.reason, first.details)


async def test_resuming_what_is_unknown_starts_nothing(serve: Serve, config: Config) -> None:
    """Also from 0; a unary call cannot resume, and neither can one without a key."""
    provider = ScriptedProvider.saying("x")
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    for after in (0, 5):
        with Refused() as refused:
            await collect(wire.chat.StreamChat(request(after_sequence=after)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")
    with Refused() as refused:
        await wire.chat.Chat(request(after_sequence=0))
    assert (refused.code, *refused.violations) == (grpc.StatusCode.INVALID_ARGUMENT, "after_sequence")
    with Refused() as refused:
        await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("go")], after_sequence=0)))
    assert (refused.code, *refused.violations) == (grpc.StatusCode.INVALID_ARGUMENT, "after_sequence")
    assert not provider.requests


async def test_a_stream_never_starts_work(serve: Serve, config: Config) -> None:
    """An unknown turn, a bad name, and a turn of another session are refused."""
    wire = await begun(serve, config, "x", Finish())
    await wire.create("other")
    turn = (await wire.chat.Chat(request())).turn
    for name in ("turns/none", "sessions/tour/turns/none", turn.replace("tour", "other"), turn.partition("/turns")[2]):
        with Refused() as refused:
            await collect(by_name(wire, f"turns{name}" if name.startswith("/") else name, 0))
        assert refused.reason == "TURN_NOT_FOUND"
    for name in ("", "turns/", "sessions/tour", "sessions/tour/turns/A"):
        with Refused() as refused:
            await collect(by_name(wire, name, 0))
        assert (refused.code, *refused.violations) == (grpc.StatusCode.INVALID_ARGUMENT, "name")


async def test_a_slow_reader_slows_nobody(serve: Serve, config: Config) -> None:
    """One that stopped reading holds neither the turn nor the others."""
    pieces = ["x" * 1000] * 900
    wire = await begun(serve, config, *pieces, Finish())
    slow = wire.chat.StreamChat(request())
    turn = (await slow.read()).started.turn
    async with asyncio.timeout(10):
        events = await collect(by_name(wire, turn, 0))
    assert deltas(events) == "".join(pieces)
    assert deltas(await collect(slow)) == "".join(pieces)


async def test_a_turn_is_seen_while_it_runs_and_afterwards(serve: Serve, config: Config) -> None:
    """GetTurn has the answer so far, ListTurns the newest first and without the answers."""
    gate = Gate()
    wire = await begun(serve, config, "half ", gate, "whole", Finish())
    stream = wire.chat.StreamChat(request())
    name = (await stream.read()).started.turn
    await gate.reached.wait()
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert (turn.name, turn.state, turn.request_id) == (name, turn_pb2.TURN_STATE_RUNNING, "r")
    assert turn.message.parts[0].text == "half "
    (attempt,) = turn.attempts
    assert attempt.outcome == turn_pb2.TURN_STATE_RUNNING
    assert not turn.HasField("end_time")
    gate.open()
    completed = (await collect(stream))[-1].completed
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert turn.state == turn_pb2.TURN_STATE_SUCCEEDED
    assert (turn.message, turn.finish_reason, turn.usage, list(turn.attempts)) == (
        completed.message,
        completed.finish_reason,
        completed.usage,
        list(completed.attempts),
    )
    names = [name, *[(await wire.say(str(number))).turn for number in range(3)]]
    found, token = [], ""
    while True:
        page = await wire.turns.ListTurns(
            turn_pb2.ListTurnsRequest(parent="sessions/tour", page_size=3, page_token=token)
        )
        found += page.turns
        token = page.next_page_token
        if not token:
            break
    assert [turn.name for turn in found] == names[::-1]
    assert not any(turn.HasField("message") for turn in found)
