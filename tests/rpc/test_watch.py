"""Watching a session: its current state first, then what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import generation_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.sessions import hub
from mcp_server.settings import Config, TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.shared_memory import SharedMemoryStore
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import SECOND
from tests.conftest import Serve
from tests.wire import Refused, Wire, user

TOUR = "sessions/tour"


@pytest.fixture
async def wire(serve: Serve, config: Config) -> Wire:
    """A server on each of the stores, whose model repeats what it is told, and a session."""
    wire = await serve(config, providers={"scripted": EchoProvider()})
    await wire.create(default_model="scripted/echo", labels={"a": "b"})
    return wire


class Watched:
    """A stream of events, one of which can be awaited."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def next(self, kind: str) -> Any:
        """The next event, which must be of that kind; returned with its etag."""
        event = await asyncio.wait_for(self.stream.read(), 10)
        assert event is not grpc.aio.EOF
        assert event.WhichOneof("event") == kind, event
        return event

    async def end(self) -> Refused:
        """How the stream ends, before any further event."""
        with Refused() as refused:
            await asyncio.wait_for(self.stream.read(), 10)
        return refused


@asynccontextmanager
async def watching(wire: Wire, name: str = TOUR, **fields: Any) -> AsyncIterator[Watched]:
    stream = wire.sessions.WatchSession(session_pb2.WatchSessionRequest(name=name, **fields))
    try:
        yield Watched(stream)
    finally:
        stream.cancel()


async def append(wire: Wire, *texts: str) -> None:
    request = session_pb2.AppendMessagesRequest(parent=TOUR, messages=[user(text) for text in texts])
    await wire.sessions.AppendMessages(request)


async def get(wire: Wire) -> session_pb2.Session:
    session: session_pb2.Session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=TOUR))
    return session


async def label(wire: Wire, value: str) -> session_pb2.Session:
    request = session_pb2.UpdateSessionRequest(session=session_pb2.Session(name=TOUR, labels={"a": value}))
    request.update_mask.paths.append("labels")
    session: session_pb2.Session = await wire.sessions.UpdateSession(request)
    return session


async def test_the_current_state_is_the_first_event(wire: Wire) -> None:
    """Whole, or without what the caller has by its etag."""
    await wire.sessions.UpdateSession(_metadata("x"))
    session = await get(wire)
    async with watching(wire, after_etag="another") as watched:
        event = await watched.next("current")
        assert (event.etag, event.current.session, list(event.current.turns)) == (session.etag, session, [])
    async with watching(wire, after_etag=session.etag) as watched:
        event = await watched.next("current")
        assert not event.current.session.metadata
        session.ClearField("metadata")
        assert event.current.session == session


def _metadata(value: str) -> session_pb2.UpdateSessionRequest:
    request = session_pb2.UpdateSessionRequest(session=session_pb2.Session(name=TOUR))
    request.session.metadata["key"] = value
    request.update_mask.paths.append("metadata")
    return request


async def test_every_change_is_an_event(wire: Wire) -> None:
    """In the order in which they were made, each once, with the etag that the session then has."""
    async with watching(wire) as watched:
        await watched.next("current")
        await append(wire, "one", "two")
        event = await watched.next("messages_appended")
        assert event.messages_appended == session_pb2.MessagesAppended(first_index=0, message_count=2)
        assert event.etag == (await get(wire)).etag
        updated = await label(wire, "c")
        event = await watched.next("updated")
        assert (event.updated, event.etag) == (updated, updated.etag)
        rewound = await wire.sessions.RewindSession(session_pb2.RewindSessionRequest(name=TOUR, message_count=1))
        event = await watched.next("rewound")
        assert (event.rewound.message_count, event.etag) == (1, rewound.etag)
        await wire.sessions.RewindSession(session_pb2.RewindSessionRequest(name=TOUR, message_count=1))
        await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=TOUR))
        await append(wire, "three")
        assert (await watched.next("messages_appended")).messages_appended.first_index == 1


async def test_a_turn_is_followed(wire: Wire) -> None:
    """Its start, its messages, and its end, without the messages themselves."""
    async with watching(wire) as watched:
        await watched.next("current")
        answer = await wire.say("hello")
        started = (await watched.next("turn_started")).turn_started
        assert (started.name, started.state) == (answer.turn, turn_pb2.TURN_STATE_RUNNING)
        event = await watched.next("messages_appended")
        assert event.messages_appended == session_pb2.MessagesAppended(message_count=2, turn=answer.turn)
        assert event.etag == answer.completed.session_etag
        ended = (await watched.next("turn_ended")).turn_ended
        assert (ended.name, ended.state) == (answer.turn, turn_pb2.TURN_STATE_SUCCEEDED)
        assert not ended.HasField("message")


async def test_a_queue_is_followed(serve: Serve, config: Config) -> None:
    """Who begins to watch meanwhile finds its turns in the current state."""
    gate = Gate()
    wire = await serve(config, providers={"scripted": ScriptedProvider([gate, "a", Finish()], ["b", Finish()])})
    await wire.create(default_model="scripted/scripted")
    async with watching(wire) as watched:
        await watched.next("current")
        first = asyncio.create_task(wire.say("one"))
        running = (await watched.next("turn_started")).turn_started.name
        second = asyncio.create_task(wire.say("two", if_busy=generation_pb2.IF_BUSY_QUEUE))
        queued = (await watched.next("turn_queued")).turn_queued.name
        async with watching(wire) as later:
            current = (await later.next("current")).current
            assert [(turn.name, turn.state) for turn in current.turns] == [
                (running, turn_pb2.TURN_STATE_RUNNING),
                (queued, turn_pb2.TURN_STATE_QUEUED),
            ]
            assert current.session.active_turn == running
            gate.open()
            await asyncio.gather(first, second)
            for each in (watched, later):
                await each.next("messages_appended")
                assert (await each.next("turn_ended")).turn_ended.name == running
                assert (await each.next("turn_started")).turn_started.name == queued
                await each.next("messages_appended")
                assert (await each.next("turn_ended")).turn_ended.name == queued


async def test_a_turn_that_fails_ends_too(serve: Serve, config: Config) -> None:
    """And adds no messages."""
    gate = Gate()
    wire = await serve(config, providers={"scripted": ScriptedProvider(["a", gate])})
    await wire.create(default_model="scripted/scripted")
    async with watching(wire) as watched:
        await watched.next("current")
        call = asyncio.create_task(wire.say("one"))
        name = (await watched.next("turn_started")).turn_started.name
        await gate.reached.wait()
        await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
        assert (await watched.next("turn_ended")).turn_ended.state == turn_pb2.TURN_STATE_CANCELLED
        with Refused():
            await call


async def test_a_deleted_session_ends_the_stream(wire: Wire) -> None:
    """Also if another takes its place at once."""
    async with watching(wire) as watched:
        await watched.next("current")
        await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=TOUR))
        await wire.create()
        assert (await watched.next("deleted")).etag == ""
        refused = await watched.end()
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


async def test_an_expired_session_ends_the_stream(serve: Serve, config: Config) -> None:
    """Within about a second, although nobody touches it; what renews it keeps the stream."""
    now = 1_000_000 * SECOND
    wire = await serve(config, providers={"scripted": EchoProvider()}, clock=lambda: now)
    await wire.create(default_model="scripted/echo", ttl=duration_pb2.Duration(seconds=60))
    async with watching(wire) as watched:
        await watched.next("current")
        now += 50 * SECOND
        await append(wire, "one")
        await watched.next("messages_appended")
        now += 50 * SECOND
        await append(wire, "two")
        await watched.next("messages_appended")
        now += 61 * SECOND
        await watched.next("deleted")
        assert (await watched.end()).reason == "SESSION_NOT_FOUND"


async def test_a_session_that_is_not_there_is_not_watched(wire: Wire) -> None:
    """And a bad request is refused."""
    for name, fields, reason in (
        ("sessions/none", {}, "SESSION_NOT_FOUND"),
        ("tour", {}, "INVALID_ARGUMENT"),
        (TOUR, {"after_etag": "x" * 5000}, "INVALID_ARGUMENT"),
    ):
        async with watching(wire, name, **fields) as watched:
            assert (await watched.end()).reason == reason


async def test_heartbeats_show_that_the_stream_lives(serve: Serve) -> None:
    """As those of turns."""
    config = settings(default_model="echo/echo")
    wire = await serve(_with_heartbeats(config, 0.1), providers={"echo": EchoProvider()})
    await wire.create()
    async with watching(wire) as watched:
        await watched.next("current")
        assert (await watched.next("heartbeat")).etag == ""
        await watched.next("heartbeat")


def _with_heartbeats(config: Config, interval: float) -> Config:

    return msgspec.structs.replace(config, turns=TurnSettings(heartbeat_interval=interval))


async def test_a_stopping_server_sends_its_watchers_away(serve: Serve, config: Config) -> None:
    """At once, with the advice to come again, and takes no new ones."""
    gate = Gate()
    wire = await serve(config, providers={"scripted": ScriptedProvider([gate, "a", Finish()])})
    await wire.create(default_model="scripted/scripted")
    async with watching(wire) as watched:
        await watched.next("current")
        call = asyncio.create_task(wire.say("one"))
        await watched.next("turn_started")
        stop = asyncio.create_task(wire.server.stop(10))
        refused = await watched.end()
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refused.retry_after == 1
        async with watching(wire) as late:
            assert (await late.end()).reason == "DRAINING"
        gate.open()
        await call
        await stop


async def test_only_so_many_watch_one_session(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one caller watches only so many; a place is free again when a watcher leaves."""
    await wire.create("other")
    monkeypatch.setattr(hub, "MAX_WATCHERS", 1)
    monkeypatch.setattr(hub, "MAX_WATCHERS_OF_CALLER", 2)
    async with watching(wire) as watched:
        await watched.next("current")
        async with watching(wire) as second:
            refused = await second.end()
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refused.metadata["limit"] == "max_watchers"
        async with watching(wire, "sessions/other") as other:
            await other.next("current")
            await wire.create("third")
            async with watching(wire, "sessions/third") as third:
                assert (await third.end()).metadata["limit"] == "max_watchers_of_caller"
    await asyncio.wait_for(_until_watched(wire), 10)


async def _until_watched(wire: Wire) -> None:
    while True:
        async with watching(wire) as watched:
            if await watched.stream.read() is not grpc.aio.EOF:
                return


async def test_a_change_of_another_server_is_found(serve: Serve) -> None:
    """At the latest at the second heartbeat, as the current state."""
    store = SharedMemoryStore()
    config = _with_heartbeats(settings(default_model="echo/echo"), 0.1)
    first = await serve(config, providers={"echo": EchoProvider()}, store=store)
    second = await serve(config, providers={"echo": EchoProvider()}, store=store)
    await first.create()
    async with watching(first) as watched:
        await watched.next("current")
        await append(second, "one")
        event = await watched.stream.read()
        while event.WhichOneof("event") == "heartbeat":
            event = await watched.stream.read()
        assert event.current.session.message_count == 1
        await append(first, "two")
        await append(second, "three")
        await append(first, "four")
        seen = 0
        while seen < 4:
            event = await watched.stream.read()
            if event.WhichOneof("event") == "messages_appended":
                assert event.messages_appended.first_index >= seen
                seen = event.messages_appended.message_count
            elif event.WhichOneof("event") == "current":
                assert event.current.session.message_count > seen
                seen = event.current.session.message_count
        await second.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=TOUR))
        event = await watched.stream.read()
        while event.WhichOneof("event") == "heartbeat":
            event = await watched.stream.read()
        assert event.WhichOneof("event") == "deleted"


async def test_many_watchers_of_a_busy_session_miss_nothing(wire: Wire) -> None:
    """Those who come in the midst of it too: what they were told adds up to what is there."""

    async def follow() -> int:
        async with watching(wire) as watched:
            count = (await watched.next("current")).current.session.message_count
            while count < 60:
                event = await asyncio.wait_for(watched.stream.read(), 10)
                kind = event.WhichOneof("event")
                if kind == "messages_appended":
                    assert event.messages_appended.first_index == count
                    count = event.messages_appended.message_count
                elif kind == "rewound":
                    count = event.rewound.message_count
                elif kind == "current":
                    count = event.current.session.message_count
            return int(count)

    followers = [asyncio.create_task(follow())]
    for number in range(40):
        followers.append(asyncio.create_task(follow()))
        if number == 20:
            await wire.sessions.RewindSession(session_pb2.RewindSessionRequest(name=TOUR, message_count=10))
            await append(wire, *["x"] * 30)
        await append(wire, f"{number}")
    assert await asyncio.gather(*followers) == [60] * 41
