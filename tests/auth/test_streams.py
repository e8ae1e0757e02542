"""Running streams end when their credentials lose their validity."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from contextprotocol.v1 import chat_pb2, generation_pb2, key_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.middleware.authentication import guard
from mcp_server.settings import TurnSettings
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.values.key_secret import hash_of
from tests.auth.keys import Metadata, bearer, config_with, new_key
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user

ADMIN = new_key("red")
GOOD = new_key("red")


class Answering:
    """A server whose model answers in two pieces, the second of them at a gate."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.provider = ScriptedProvider(["one ", self.gate, "two", Finish()])
        self.secret = ""
        self.key = ""
        self.wire: Wire

    @property
    def metadata(self) -> Metadata:
        """The credentials of the key that will be revoked."""
        return bearer(self.secret)

    async def revoke(self) -> None:
        """Revoke the key."""
        await self.wire.keys.RevokeKey(key_pb2.RevokeKeyRequest(name=self.key), metadata=ADMIN.metadata)

    async def chat(self, metadata: Metadata, **fields: Any) -> tuple[Any, list[turn_pb2.TurnEvent]]:
        """A stream that has begun, and its events up to the first piece."""
        stream = self.wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hi")], **fields), metadata=metadata)
        events: list[turn_pb2.TurnEvent] = []
        while not events or not events[-1].HasField("delta"):
            events.append(await stream.read())
        return stream, events


@pytest.fixture
async def answering(serve: Serve, tmp_path: Path) -> Answering:
    made = Answering()
    config = msgspec.structs.replace(
        config_with(ADMIN, GOOD, stored_keys=True, first_key_file=tmp_path / "first"),
        turns=TurnSettings(disconnect_grace=0.02),
    )
    models = msgspec.structs.replace(config.models, default="scripted/scripted", default_embedding="")
    config = msgspec.structs.replace(config, models=models)
    made.wire = await serve(config, providers={"scripted": made.provider})
    request = key_pb2.CreateKeyRequest(key=key_pb2.Key(scopes=["chat", "models", "sessions.read"]))
    created = await made.wire.keys.CreateKey(request, metadata=ADMIN.metadata)
    made.secret, made.key = created.secret, created.key.name
    return made


async def test_a_stream_ends_when_its_key_is_revoked_and_its_turn_as_if_the_reader_had_left(
    answering: Answering,
) -> None:
    """The reader learns why; the turn is cancelled after its grace."""
    stream, events = await answering.chat(answering.metadata)
    await answering.revoke()
    with Refused() as refused:
        await asyncio.wait_for(collect(stream), 5)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS")
    await asyncio.wait_for(answering.provider.stopped.wait(), 5)
    await answering.wire.server.idle()
    turn = await answering.wire.turns.GetTurn(
        turn_pb2.GetTurnRequest(name=events[0].started.turn), metadata=ADMIN.metadata
    )
    assert turn.state == turn_pb2.TURN_STATE_CANCELLED


async def test_a_turn_that_continues_without_readers_survives_its_key(answering: Answering) -> None:
    """It was begun with valid credentials, and another key of the tenant reads it."""
    stream, events = await answering.chat(answering.metadata, on_disconnect=generation_pb2.ON_DISCONNECT_CONTINUE)
    await answering.revoke()
    with Refused():
        await asyncio.wait_for(collect(stream), 5)
    watching = answering.wire.turns.StreamTurn(
        turn_pb2.StreamTurnRequest(name=events[0].started.turn), metadata=ADMIN.metadata
    )
    answering.gate.open()
    assert (await collect(watching))[-1].HasField("completed")


async def test_a_stream_that_nobody_reads_ends_too(serve: Serve, tmp_path: Path) -> None:
    """The write that waits for its reader is given up, and the turn is stopped."""
    reader = new_key("red")
    provider = ScriptedProvider([*["x" * 60_000] * 500, Gate(), Finish()])
    config = msgspec.structs.replace(config_with(ADMIN, reader), turns=TurnSettings(disconnect_grace=0.02))
    models = msgspec.structs.replace(config.models, default="scripted/scripted", default_embedding="")
    wire = await serve(msgspec.structs.replace(config, models=models), providers={"scripted": provider})
    stream = wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hi")]), metadata=reader.metadata)
    assert (await stream.read()).HasField("started")
    wire.server.replace_keys(config_with(ADMIN))
    await asyncio.wait_for(provider.stopped.wait(), 5)
    with Refused() as refused:
        await asyncio.wait_for(collect(stream), 5)
    assert refused.reason == "BAD_CREDENTIALS"


async def test_only_streams_of_the_revoked_key_end(answering: Answering) -> None:
    """Others with another key go on, also on the same turn."""
    stream, events = await answering.chat(GOOD.metadata)
    watching = answering.wire.turns.StreamTurn(
        turn_pb2.StreamTurnRequest(name=events[0].started.turn), metadata=answering.metadata
    )
    assert (await watching.read()).HasField("started")
    await answering.revoke()
    with Refused() as refused:
        await asyncio.wait_for(collect(watching), 5)
    assert refused.reason == "BAD_CREDENTIALS"
    answering.gate.open()
    assert (await collect(stream))[-1].HasField("completed")


async def test_watches_and_reflection_end_too(answering: Answering) -> None:
    """Every kind of stream is authenticated again; a watch without credentials goes on."""
    wire = answering.wire
    provider = wire.health.Watch(
        health_pb2.HealthCheckRequest(service="providers/scripted"), metadata=answering.metadata
    )
    server = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=answering.metadata)
    stranger = wire.health.Watch(health_pb2.HealthCheckRequest())
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
    reflection = stub.ServerReflectionInfo(metadata=answering.metadata)
    await reflection.write(reflection_pb2.ServerReflectionRequest(list_services="*"))
    create = session_pb2.CreateSessionRequest(session_id="tour")
    await wire.sessions.CreateSession(create, metadata=ADMIN.metadata)
    session = wire.sessions.WatchSession(
        session_pb2.WatchSessionRequest(name="sessions/tour"), metadata=answering.metadata
    )
    for stream in (provider, server, stranger, reflection, session):
        await stream.read()
    await answering.revoke()
    for stream in (provider, server, reflection, session):
        with Refused() as refused:
            await asyncio.wait_for(stream.read(), 5)
        assert refused.reason == "BAD_CREDENTIALS"
    assert not stranger.done()
    stranger.cancel()


async def test_an_expired_key_ends_its_streams(serve: Serve) -> None:
    """Nobody has to revoke it."""
    moment = 1_000_000_000 * 10**9
    key = new_key("red")
    key = key._replace(table=msgspec.structs.replace(key.table, expire_time="2001-09-09T02:00:00Z"))
    time = [moment]
    wire = await serve(config_with(key), providers={"scripted": ScriptedProvider.saying("x")}, clock=lambda: time[0])
    watch = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=key.metadata)
    await watch.read()
    time[0] += 3600 * 10**9
    with Refused() as refused:
        await asyncio.wait_for(watch.read(), 5)
    assert refused.reason == "BAD_CREDENTIALS"


async def test_a_key_that_is_taken_out_of_the_settings_ends_its_streams(answering: Answering) -> None:
    """Settings are replaced while the server runs; keys that stay in them notice nothing."""
    gone, _ = await answering.chat(GOOD.metadata)
    stays = answering.wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=ADMIN.metadata)
    await stays.read()
    answering.wire.server.replace_keys(config_with(ADMIN, stored_keys=True))
    with Refused() as refused:
        await asyncio.wait_for(collect(gone), 5)
    assert refused.reason == "BAD_CREDENTIALS"
    assert not stays.done()
    stays.cancel()


async def test_a_stream_ends_when_its_key_loses_the_scope_that_it_needs(answering: Answering) -> None:
    """Streams of the same key that need another scope go on."""
    wire = answering.wire
    stream, _ = await answering.chat(answering.metadata)
    stays = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=answering.metadata)
    await stays.read()
    update = key_pb2.UpdateKeyRequest(key=key_pb2.Key(name=answering.key, scopes=["models"]))
    update.update_mask.paths.append("scopes")
    await wire.keys.UpdateKey(update, metadata=ADMIN.metadata)
    with Refused() as refused:
        await asyncio.wait_for(collect(stream), 5)
    assert refused.reason == "BAD_CREDENTIALS"
    assert not stays.done()
    stays.cancel()


async def test_streams_end_when_the_settings_replace_the_secret_of_their_key(answering: Answering) -> None:
    """The new secret has the same id, and its own streams go on: neither vouches for the other."""
    wire, renewed = answering.wire, new_key("red")
    old = [wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=GOOD.metadata) for _ in range(2)]
    for stream in old:
        await stream.read()
    secret = f"ctx_{GOOD.id}{renewed.secret[len('ctx_') + len(GOOD.id) :]}"
    table = msgspec.structs.replace(GOOD.table, hash=f"sha256:{hash_of(secret).hex()}")
    wire.server.replace_keys(config_with(ADMIN, GOOD._replace(secret=secret, table=table), stored_keys=True))
    new = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=bearer(secret))
    await new.read()
    for stream in old:
        with Refused() as refused:
            await asyncio.wait_for(stream.read(), 5)
        assert refused.reason == "BAD_CREDENTIALS"
    assert not new.done()
    new.cancel()


async def test_streams_end_when_the_settings_give_their_key_to_another_tenant(answering: Answering) -> None:
    """They read what belongs to the former one."""
    stream, _ = await answering.chat(GOOD.metadata)
    moved = GOOD._replace(table=msgspec.structs.replace(GOOD.table, tenant="blue"))
    answering.wire.server.replace_keys(config_with(ADMIN, moved, stored_keys=True))
    with Refused() as refused:
        await asyncio.wait_for(collect(stream), 5)
    assert refused.reason == "BAD_CREDENTIALS"


async def test_a_reader_that_leaves_while_its_key_is_revoked_is_gone(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes first: nothing of the call is left."""
    stream, _ = await answering.chat(answering.metadata)
    revoking = asyncio.create_task(answering.revoke())
    await asyncio.sleep(0)
    stream.cancel()
    await revoking
    await asyncio.wait_for(answering.provider.stopped.wait(), 5)
    await answering.wire.server.idle()


async def test_watches_without_credentials_are_bounded_for_each_host(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers with credentials behind the same address are not counted."""
    monkeypatch.setattr(guard, "MAX_OPEN_STREAMS", 2)
    wire = answering.wire
    watches = [wire.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
    for watch in watches:
        await watch.read()
    with Refused() as refused:
        await wire.health.Watch(health_pb2.HealthCheckRequest()).read()
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    good = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=GOOD.metadata)
    await good.read()
    for watch in (*watches, good):
        watch.cancel()
