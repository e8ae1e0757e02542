"""Two calls on one session: refused, queued, or instead of the one that runs."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.protobuf import duration_pb2

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.settings import Config
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.faults.caller import reason_of
from tests.wire import Refused, Wire, collect, text_of, user

QUEUE = generation_pb2.IF_BUSY_QUEUE
CANCEL_RUNNING = generation_pb2.IF_BUSY_CANCEL_RUNNING


def chat(text: str, **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user(text)], **fields)


async def busy(serve: Serve, config: Config) -> tuple[Wire, Gate, Any, ScriptedProvider]:
    """A server whose one session runs a turn that waits at a gate; all others answer at once."""
    gate = Gate()
    slow = ScriptedProvider(["slow", gate, Finish()])
    wire = await serve(config, providers={"scripted": EchoProvider(), "slow": slow})
    await wire.create(default_model="scripted/echo")
    running = wire.chat.StreamChat(chat("first", model="slow/scripted"))
    await running.read()
    await gate.reached.wait()
    return wire, gate, running, slow


async def queued(wire: Wire, text: str, **fields: Any) -> Any:
    """A call that waits."""
    stream = wire.chat.StreamChat(chat(text, **{"if_busy": QUEUE, **fields}))
    event = await stream.read()
    assert event.HasField("queued"), event
    stream.turn, stream.position = event.queued.turn, event.queued.position
    return stream


async def test_by_default_the_second_call_is_refused(serve: Serve, config: Config) -> None:
    """The error names the turn that runs; so does the session."""
    wire, gate, running, _ = await busy(serve, config)
    session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    for fields in ({}, {"if_busy": generation_pb2.IF_BUSY_REJECT}):
        with Refused() as refused:
            await wire.chat.Chat(chat("second", **fields))
        assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SESSION_BUSY")
        assert refused.metadata["turn"] == session.active_turn != ""
    gate.open()
    await collect(running)
    assert len(await wire.history()) == 2


async def test_queued_turns_run_in_the_order_of_arrival(serve: Serve, config: Config) -> None:
    """Each says how many go first, is seen as QUEUED, and sees what those before it committed."""
    wire, gate, running, _ = await busy(serve, config)
    waiting = [await queued(wire, str(number)) for number in range(3)]
    assert [stream.position for stream in waiting] == [1, 2, 3]
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=waiting[0].turn))
    assert turn.state == turn_pb2.TURN_STATE_QUEUED
    assert not turn.HasField("start_time")
    gate.open()
    first = (await collect(running))[-1].completed
    used = []
    for stream in waiting:
        events = await collect(stream)
        assert [event.WhichOneof("event") for event in events[:2]] == ["started", "part_started"]
        assert events[0].started.turn == stream.turn
        used.append(events[0].started.window.used_messages)
    assert used == [2, 4, 6]
    assert first.session_etag
    assert [text for _, text in await wire.history()] == ["first", "slow", "0", "0", "1", "1", "2", "2"]


async def test_a_free_session_makes_nobody_wait(serve: Serve, config: Config) -> None:
    """QUEUE and CANCEL_RUNNING then do what REJECT does."""
    wire = await serve(config, providers={"scripted": ScriptedProvider.saying("x")})
    await wire.create()
    for if_busy in (QUEUE, CANCEL_RUNNING):
        events = await collect(wire.chat.StreamChat(chat("go", if_busy=if_busy)))
        assert events[0].HasField("started")


async def test_the_line_has_an_end(serve: Serve, config: Config) -> None:
    """One too many is told to come again; the others are not disturbed."""
    wire, gate, running, _ = await busy(serve, config)
    waiting = [await queued(wire, str(number)) for number in range(config.turns.max_queued)]
    with Refused() as refused:
        await wire.chat.Chat(chat("too many", if_busy=QUEUE))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refused.retry_after == 1
    gate.open()
    for stream in (running, *waiting):
        assert (await collect(stream))[-1].HasField("completed")


async def test_a_waiting_turn_can_be_cancelled(serve: Serve, config: Config) -> None:
    """It never reaches the provider, and the next one moves up."""
    wire, gate, running, _ = await busy(serve, config)
    one, two = await queued(wire, "one"), await queued(wire, "two")
    turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=one.turn))
    assert (turn.state, list(turn.attempts)) == (turn_pb2.TURN_STATE_CANCELLED, [])
    with Refused() as refused:
        await collect(one)
    assert refused.reason == "TURN_CANCELLED"
    gate.open()
    await collect(running)
    await collect(two)
    assert [text for _, text in await wire.history()] == ["first", "slow", "two", "two"]


async def test_a_waiting_turn_honours_its_timeout(serve: Serve, config: Config) -> None:
    """Waiting counts: it fails while the other still runs."""
    wire, gate, running, _ = await busy(serve, config)
    stream = await queued(wire, "one", timeout=duration_pb2.Duration(nanos=50_000_000))
    with Refused() as refused:
        await collect(stream)
    assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "TURN_TIMEOUT")
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=stream.turn))
    assert turn.state == turn_pb2.TURN_STATE_FAILED
    gate.open()
    await collect(running)


async def test_a_waiting_turn_whose_caller_leaves_is_cancelled(serve: Serve, config: Config) -> None:
    """As a running one is."""
    wire, gate, running, _ = await busy(serve, config)
    stream = await queued(wire, "one", on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL)
    two = await queued(wire, "two")
    stream.cancel()
    async with asyncio.timeout(5):
        state = turn_pb2.TURN_STATE_QUEUED
        while state == turn_pb2.TURN_STATE_QUEUED:
            state = (await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=stream.turn))).state
    assert state == turn_pb2.TURN_STATE_CANCELLED
    gate.open()
    await collect(running)
    await collect(two)
    assert [text for _, text in await wire.history()] == ["first", "slow", "two", "two"]


async def test_a_waiting_turn_is_attached_to_by_its_key(serve: Serve, config: Config) -> None:
    """The second caller waits for the same turn."""
    wire, gate, running, _ = await busy(serve, config)
    one = await queued(wire, "one", request_id="r")
    again = asyncio.create_task(collect(wire.chat.StreamChat(chat("one", if_busy=QUEUE, request_id="r"))))
    await asyncio.sleep(0.01)
    gate.open()
    await collect(running)
    events = await collect(one)
    replayed = await again
    assert (replayed[0].queued.turn, replayed[0].queued.position) == (one.turn, 1)
    assert replayed[-1] == events[-1]
    assert len(await wire.history()) == 4


async def test_those_who_will_not_wait_do_not_overtake(serve: Serve, config: Config) -> None:
    """Between two turns of a line the session is not free."""
    wire, gate, running, _ = await busy(serve, config)
    waiting = [asyncio.create_task(collect(await queued(wire, str(number)))) for number in range(3)]
    pushing = True

    async def push() -> None:
        """Until it is let in, which may be behind the last of the line."""
        while pushing:
            try:
                await wire.chat.Chat(chat("push"))
            except grpc.aio.AioRpcError as error:
                assert reason_of(error) == "SESSION_BUSY"
            else:
                break

    pusher = asyncio.create_task(push())
    await asyncio.sleep(0)
    gate.open()
    await collect(running)
    await asyncio.gather(*waiting[:-1])
    pushing = False
    await pusher
    await waiting[-1]
    order = [text for _, text in await wire.history()][2::2]
    assert [text for text in order if text != "push"] == ["0", "1", "2"]
    assert "push" not in order[:-1]


async def test_the_running_turn_makes_way(serve: Serve, config: Config) -> None:
    """CANCEL_RUNNING stops it at the provider and goes ahead of those that wait."""
    wire, _, running, slow = await busy(serve, config)
    one = await queued(wire, "one")
    answer = await wire.chat.Chat(chat("now", if_busy=CANCEL_RUNNING))
    assert text_of(answer.completed.message) == "now"
    await asyncio.wait_for(slow.stopped.wait(), 1)
    with Refused() as refused:
        await collect(running)
    assert (refused.code, refused.reason) == (grpc.StatusCode.CANCELLED, "TURN_CANCELLED")
    await collect(one)
    assert [text for _, text in await wire.history()] == ["now", "now", "one", "one"]


async def test_the_last_one_that_cancels_wins(serve: Serve, config: Config) -> None:
    """However close they come: the earlier ones are cancelled, and none is lost or runs twice."""
    wire, _, running, _ = await busy(serve, config)
    calls = [
        asyncio.create_task(collect(wire.chat.StreamChat(chat(str(number), if_busy=CANCEL_RUNNING))))
        for number in range(3)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    ended = [result for result in results if isinstance(result, list)]
    assert ended, "somebody has to win"
    for result in results:
        if isinstance(result, grpc.aio.AioRpcError):
            assert result.code() is grpc.StatusCode.CANCELLED
    with Refused() as refused:
        await collect(running)
    assert refused.reason == "TURN_CANCELLED"
    await wire.server.idle()
    assert len(await wire.history()) == 2 * len(ended)
    got = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    assert got.active_turn == ""


async def test_an_etag_cannot_wait(serve: Serve, config: Config) -> None:
    """Those that go first would change the session."""
    wire = await serve(config, providers={"scripted": ScriptedProvider.saying("x")})
    session = await wire.create()
    with Refused() as refused:
        await wire.chat.Chat(chat("go", if_busy=QUEUE, etag=session.etag))
    assert (refused.code, *refused.violations) == (grpc.StatusCode.INVALID_ARGUMENT, "etag")


async def test_many_callers_on_one_session_are_served_in_turn(serve: Serve, config: Config) -> None:
    """With the line as long as they are many, each is answered once."""
    import msgspec

    config = msgspec.structs.replace(config, turns=msgspec.structs.replace(config.turns, max_queued=100))
    wire = await serve(config, providers={"scripted": EchoProvider()})
    await wire.create(default_model="scripted/echo")
    await asyncio.gather(*[wire.chat.Chat(chat(str(number), if_busy=QUEUE)) for number in range(50)])
    history = [text for _, text in await wire.history(page_size=1000)]
    assert history[::2] == history[1::2]
    assert sorted(map(int, history[::2])) == list(range(50))


async def test_each_turn_of_a_deleted_session_ends_under_its_own_name(serve: Serve, config: Config) -> None:
    """The running one and those that wait: an error names the turn that it ended."""
    wire, _, running, _ = await busy(serve, config)
    waiting = [await queued(wire, str(number)) for number in range(2)]
    (name,) = {(await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))).active_turn}
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    for stream, turn in [(running, name), *[(stream, stream.turn) for stream in waiting]]:
        with Refused() as refused:
            await collect(stream)
        assert (refused.reason, refused.metadata) == ("SESSION_NOT_FOUND", {"session": "sessions/tour", "turn": turn})
