"""The same request again: a key makes a turn free to retry, whatever the timing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, struct_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish
from mcp_server.settings import Config
from mcp_server.settings import testing_config as settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.values import SECOND
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, text_of, user


def chat(text: str = "go", **fields: Any) -> chat_pb2.ChatRequest:
    fields = {"session": "sessions/tour", "request_id": "r", **fields}
    return chat_pb2.ChatRequest(messages=[user(text)], **fields)


async def begun(serve: Serve, config: Config, *scripts: Any, session: bool = True) -> tuple[Wire, ScriptedProvider]:
    provider = ScriptedProvider(*scripts)
    wire = await serve(config, providers={"scripted": provider})
    if session:
        await wire.create()
    return wire, provider


async def test_a_finished_turn_is_replayed_event_for_event(serve: Serve, config: Config) -> None:
    """Its parts, its numbers and its end are those of the first time; the provider is not asked."""
    wire, provider = await begun(serve, config, ["one ", "two ", "three", Finish()])
    first = await collect(wire.chat.StreamChat(chat()))
    again = await collect(wire.chat.StreamChat(chat()))
    assert unmerged(again) == unmerged(first)
    assert len(provider.requests) == 1
    assert len(await wire.history()) == 2
    unary = await wire.chat.Chat(chat())
    assert unary == chat_pb2.ChatResponse(turn=first[0].started.turn, completed=first[-1].completed)


def unmerged(events: list[turn_pb2.TurnEvent]) -> tuple[str, list[turn_pb2.TurnEvent]]:
    """The text, and all events that are no deltas."""
    return deltas(events), [event for event in events if not event.HasField("delta")]


async def test_a_running_turn_is_attached_to(serve: Serve, config: Config) -> None:
    """Before the first token and in the middle; all see the same, and the provider one call."""
    first, second = Gate(), Gate()
    wire, provider = await begun(serve, config, [first, "one ", second, "two", Finish()])
    calls = [asyncio.create_task(collect(wire.chat.StreamChat(chat())))]
    await first.reached.wait()
    calls.append(asyncio.create_task(collect(wire.chat.StreamChat(chat()))))
    calls.append(asyncio.create_task(unary(wire)))
    first.open()
    await second.reached.wait()
    calls.append(asyncio.create_task(collect(wire.chat.StreamChat(chat()))))
    await asyncio.sleep(0)
    second.open()
    answers = await asyncio.gather(*calls)
    turns = {events[0].started.turn for events in answers if len(events) > 1}
    assert len(turns) == 1
    assert [deltas(events) for events in answers if len(events) > 1] == ["one two"] * 3
    assert len(provider.requests) == 1
    assert len(await wire.history()) == 2


async def unary(wire: Wire) -> list[turn_pb2.TurnEvent]:
    return [turn_pb2.TurnEvent(completed=(await wire.chat.Chat(chat())).completed)]


async def test_the_same_request_twice_at_once_is_one_turn(serve: Serve, config: Config) -> None:
    """However they race, there is one call to the provider and one exchange."""
    wire, provider = await begun(serve, config, ["hello", Finish()])
    answers = await asyncio.gather(*[wire.chat.Chat(chat()) for _ in range(20)])
    assert len({answer.turn for answer in answers}) == 1
    assert len(provider.requests) == 1
    assert len(await wire.history()) == 2


async def test_a_request_without_a_session_has_a_key_too(serve: Serve, config: Config) -> None:
    """It belongs to no session, and is another than the same key in one."""
    wire, provider = await begun(serve, config, ["hello", Finish()])
    one = await wire.chat.Chat(chat(session=""))
    two = await wire.chat.Chat(chat(session=""))
    other = await wire.chat.Chat(chat())
    assert one == two
    assert one.turn.startswith("turns/")
    assert other.turn != one.turn
    assert len(provider.requests) == 2


async def test_each_service_has_its_own_keys(serve: Serve, config: Config) -> None:
    """A completion and a chat with one key are two turns."""
    wire, provider = await begun(serve, config, ["hello", Finish()])
    await wire.chat.Chat(chat())
    request = completion_pb2.CompleteRequest(session="sessions/tour", prompt="go", request_id="r")
    one = await wire.completion.Complete(request)
    assert await wire.completion.Complete(request) == one
    assert len(provider.requests) == 2


async def test_keys_of_a_session_go_with_it(serve: Serve, config: Config) -> None:
    """A later session of the same name has none of them."""
    wire, provider = await begun(serve, config, ["hello", Finish()])
    await wire.chat.Chat(chat())
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    with Refused() as refused:
        await wire.chat.Chat(chat())
    assert refused.reason == "SESSION_NOT_FOUND"
    await wire.create()
    await wire.chat.Chat(chat())
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"text": "stop"},
        {"model": "scripted/scripted"},
        {"config": generation_pb2.GenerationConfig(seed=1)},
        {"timeout": duration_pb2.Duration(seconds=1)},
        {"if_busy": generation_pb2.IF_BUSY_QUEUE},
        {"provider_options": struct_pb2.Struct(fields={"a": struct_pb2.Value(bool_value=True)})},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_another_request_with_the_same_key_is_refused(
    serve: Serve, config: Config, other: dict[str, Any]
) -> None:
    """While the turn runs and after it; the turn goes on undisturbed."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["one", gate, Finish()])
    first = asyncio.create_task(collect(wire.chat.StreamChat(chat())))
    await gate.reached.wait()
    for _ in range(2):
        with Refused() as refused:
            await wire.chat.Chat(chat(**other))
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        gate.open()
        events = await first
    assert refused.metadata["turn"] == events[0].started.turn
    assert len(provider.requests) == 1


async def test_what_does_not_change_the_work_may_differ(serve: Serve, config: Config) -> None:
    """`on_disconnect`, the order of a map, and a default that is spelled out."""
    wire, provider = await begun(serve, config, ["hello", Finish()])
    names = ["a", "b", "c", "d"]
    options = [
        struct_pb2.Struct(fields={name: struct_pb2.Value(string_value=name) for name in order})
        for order in (names, names[::-1])
    ]
    one = await wire.chat.Chat(chat(provider_options=options[0]))
    two = await wire.chat.Chat(
        chat(
            provider_options=options[1],
            on_disconnect=generation_pb2.ON_DISCONNECT_CONTINUE,
            if_busy=generation_pb2.IF_BUSY_REJECT,
        )
    )
    assert one == two
    assert len(provider.requests) == 1


async def test_the_key_is_looked_up_before_all_other_checks(serve: Serve, config: Config) -> None:
    """An old etag, a busy session and a server that drains do not keep an answer back."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["hello", Finish()], [gate, Finish()])
    etag = (await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))).etag
    first = await wire.chat.Chat(chat(etag=etag))
    assert await wire.chat.Chat(chat(etag=etag)) == first
    busy = asyncio.create_task(wire.say("wait"))
    await gate.reached.wait()
    assert await wire.chat.Chat(chat(etag=etag)) == first
    stopping = asyncio.create_task(wire.server.stop(grace=30))
    await asyncio.sleep(0)
    assert await wire.chat.Chat(chat(etag=etag)) == first
    gate.open()
    await asyncio.gather(busy, stopping)
    assert len(provider.requests) == 2


async def test_a_failed_turn_is_final(serve: Serve, config: Config) -> None:
    """The recorded status again, with the turn's name and no invitation to retry; no second call."""
    wire, provider = await begun(serve, config, ["half", ProviderUnavailable("down", retry_after=3)], ["x", Finish()])
    seen = []
    for _ in range(2):
        with Refused() as refused:
            await collect(wire.chat.StreamChat(chat()))
        seen.append((refused.code, refused.reason, refused.details, refused.metadata["turn"]))
        assert refused.trailers["grpc-retry-pushback-ms"] == "-1"
    assert seen[0] == seen[1]
    assert seen[0][:2] == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
    assert len(provider.requests) == 1
    with Refused() as refused:
        await wire.chat.Chat(chat())
    assert refused.reason == "PROVIDER_UNAVAILABLE"


async def test_a_cancelled_turn_is_final(serve: Serve, config: Config) -> None:
    """Its request gets CANCELLED for good; a new key is a new turn."""
    gate = Gate()
    wire, provider = await begun(serve, config, ["half", gate], ["whole", Finish()])
    stream = wire.chat.StreamChat(chat())
    turn = (await stream.read()).started.turn
    await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=turn))
    for _ in range(2):
        with Refused() as refused:
            await wire.chat.Chat(chat())
        assert (refused.code, refused.reason) == (grpc.StatusCode.CANCELLED, "TURN_CANCELLED")
        assert refused.metadata["turn"] == turn
    answer = await wire.chat.Chat(chat(request_id="other"))
    assert text_of(answer.completed.message) == "whole"
    assert len(provider.requests) == 2


async def test_a_refused_call_leaves_its_key_unused(serve: Serve, config: Config) -> None:
    """Busy, a wrong etag, an unknown model: nothing was begun, and the same key begins something later."""
    gate = Gate()
    wire, _ = await begun(serve, config, [gate, "one", Finish()], ["two", Finish()])
    busy = asyncio.create_task(wire.say("wait"))
    await gate.reached.wait()
    refusals: list[tuple[dict[str, Any], str]] = [({}, "SESSION_BUSY"), ({"etag": "no"}, "ETAG_MISMATCH")]
    for fields, reason in refusals:
        with Refused() as refused:
            await wire.chat.Chat(chat(**fields))
        assert refused.reason == reason
    gate.open()
    await busy
    with Refused() as refused:
        await wire.chat.Chat(chat(model="none/none"))
    assert refused.reason == "MODEL_NOT_FOUND"
    assert text_of((await wire.chat.Chat(chat())).completed.message) == "two"


async def test_keys_are_kept_for_the_configured_time(serve: Serve, config: Config) -> None:
    """Then only the history remains, and the key is unused again."""
    time = 1_000_000 * SECOND

    def clock() -> int:
        return time

    provider = ScriptedProvider(["hello", Finish()])
    wire = await serve(config, providers={"scripted": provider}, clock=clock)
    await wire.create()
    turn = (await wire.chat.Chat(chat())).turn
    time += int(config.turns.retention * SECOND)
    await wire.server.sweep()
    await wire.chat.Chat(chat())
    assert len(provider.requests) == 1
    time += SECOND
    await wire.server.sweep()
    with Refused() as refused:
        await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=turn))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "TURN_NOT_FOUND")
    assert len(await wire.history()) == 2
    await wire.chat.Chat(chat())
    assert len(provider.requests) == 2


async def test_logprobs_and_large_answers_come_back_whole(serve: Serve, config: Config) -> None:
    """A replay holds the limits of a delta, and loses no character."""
    pieces = [f"{n:05d}é" for n in range(20_000)]
    wire, _ = await begun(serve, config, [*pieces, Finish()])
    await wire.chat.Chat(chat())
    events = await collect(wire.chat.StreamChat(chat()))
    assert deltas(events) == "".join(pieces) == text_of(events[-1].completed.message)
    assert max(event.ByteSize() for event in events[:-1]) <= 64 * 1024 + 64
    middle = next(event.sequence for event in events if event.sequence > 10_000)
    rest = await collect(wire.chat.StreamChat(chat(after_sequence=middle)))
    assert deltas([event for event in events if event.sequence <= middle]) + deltas(rest) == "".join(pieces)


async def test_readers_of_an_ended_turn_share_its_record(serve: Serve) -> None:
    """However many read it, and from wherever: it is read from the store and decoded once."""

    class Counting(MemoryStore):
        reads = 0

        async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
            Counting.reads += 1
            return await super().events(tenant, turn)

    pieces = ["x" * 100] * 10_000  # more than a connection takes before anybody reads
    provider = ScriptedProvider([*pieces, Finish()])
    config = settings(default_model="scripted/scripted")
    wire = await serve(config, providers={"scripted": provider}, store=Counting())
    turn = (await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go")], request_id="r"))).turn
    Counting.reads = 0
    requests = [turn_pb2.StreamTurnRequest(name=turn, after_sequence=number * 400) for number in range(20)]
    calls = [wire.turns.StreamTurn(request) for request in requests]
    begun = [[await call.read()] for call in calls]  # all of them are reading now, and none has come far
    assert Counting.reads == 1
    first, second, *_ = [await collect(call, into=events) for call, events in zip(calls, begun, strict=True)]
    assert first[-1].completed == second[-1].completed
    assert [len(deltas(events)) for events in (first, second)] == [100 * 10_000, 100 * (10_000 - 398)]
