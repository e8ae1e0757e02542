"""Callers that read nothing, or send requests by halves, hold no more of the server than its settings allow."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import suppress
from typing import Any, Final

import grpc
import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2
from mcp_server.interfaces import Finish
from mcp_server.settings import Config, ServerSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.auth.keys import config_with, new_key
from tests.conftest import Serve
from tests.http2 import RawConnection, message
from tests.wire import Refused, user

KIB: Final = 1024
MIB: Final = 1024 * KIB
CHAT: Final = "/contextprotocol.v1.ChatService/StreamChat"


def with_server(**server: Any) -> Config:
    return msgspec.structs.replace(
        settings(default_model="echo/echo"), server=ServerSettings(address="127.0.0.1:0", **server)
    )


def streamed(**fields: Any) -> bytes:
    request = chat_pb2.ChatRequest(messages=[user("Hi")], model="scripted/scripted", **fields)
    return message(request.SerializeToString())


async def test_a_caller_that_reads_nothing_is_ended_and_its_turn_stops(serve: Serve) -> None:
    """When it reads on it gets what was on its way, and why there is no more."""
    provider = ScriptedProvider([*["word " * 4000] * 20, Gate(), Finish()])
    wire = await serve(with_server(reader_timeout=0.4), providers={"scripted": provider})
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(20):
        stream = raw.call(CHAT)
        await raw.send(stream, streamed(on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL), end=True)
        await provider.stopped.wait()
        assert raw.received[stream] < 70_000
        raw.let_send(stream, MIB)
        assert b"read nothing for 0.4 s" in await raw.ended(stream)


async def test_a_caller_that_reads_slowly_gets_everything(serve: Serve) -> None:
    """The time is counted anew with each message that it takes."""
    provider = ScriptedProvider([*["word " * 4000] * 20, Finish()])
    wire = await serve(with_server(reader_timeout=1), providers={"scripted": provider})
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(20):
        stream = raw.call(CHAT)
        await raw.send(stream, streamed(), end=True)
        while stream not in raw.ends:
            raw.let_send(stream, 60_000)
            await asyncio.sleep(0.1)
        assert raw.received[stream] > 20 * 20_000


async def test_large_answers_that_nobody_reads_are_counted_until_their_callers_have_gone(serve: Serve) -> None:
    """Further ones are refused with OVERLOADED and RetryInfo, small ones are not."""
    wire = await serve(with_server(max_bytes_in_flight=32 * MIB))
    await wire.create()
    append = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("x" * 100_000)] * 30)
    await wire.sessions.AppendMessages(append)
    listed = session_pb2.ListMessagesRequest(parent="sessions/tour")
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(20):
        streams = [raw.call("/contextprotocol.v1.SessionService/ListMessages") for _ in range(12)]
        for stream in streams:
            await raw.send(stream, message(listed.SerializeToString()), end=True)
        await raw.has_ended(1)
        assert b"as many large answers as it may" in next(iter(raw.ends.values()))
        with Refused() as refused:
            await wire.sessions.ListMessages(listed)
        assert (refused.reason, refused.retry_after) == ("OVERLOADED", 1)
        await wire.create("small")
    for _ in range(100):
        with suppress(grpc.aio.AioRpcError):
            assert len((await wire.sessions.ListMessages(listed)).messages) == 30
            return
        await asyncio.sleep(0.05)
    pytest.fail("the answers of a connection that is closed still count")


async def test_requests_that_arrive_by_halves_take_no_more_room_than_is_allowed(serve: Serve) -> None:
    """Four of 16 MiB have room, the others are refused; other calls are answered meanwhile."""
    wire = await serve(with_server(max_bytes_in_flight=64 * MIB, receive_timeout=1), providers={"echo": EchoProvider()})
    half = message(bytes(16 * MIB - 100))[: 8 * MIB]
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(30):
        streams = [raw.call(CHAT) for _ in range(20)]
        for stream in streams:
            raw.start_sending(stream, half)
        await raw.has_ended(16)
        assert [end for end in raw.ends.values() if b"arrive slowly" not in end] == []
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hi")]))
        ends = [await raw.ended(stream) for stream in streams]
    assert sum(b"did not arrive within 1 s" in end for end in ends) == 4


async def test_requests_of_callers_without_credentials_take_no_room(serve: Serve) -> None:
    """They are refused before they have arrived: strangers cannot keep out the large requests of others."""
    key = new_key("red")
    config = msgspec.structs.replace(config_with(key), server=with_server(max_bytes_in_flight=32 * MIB).server)
    wire = await serve(config, providers={"echo": EchoProvider()})
    half = message(bytes(16 * MIB - 100))[: 8 * MIB]
    large = chat_pb2.ChatRequest(messages=[user("x" * 100_000)])
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(20):
        streams = [raw.call(CHAT) for _ in range(8)]
        for stream in streams:
            raw.start_sending(stream, half)
        assert all([b"no credentials" in await raw.ended(stream) for stream in streams])
        await wire.chat.Chat(large, metadata=key.metadata)


async def test_large_requests_are_counted_as_long_as_they_are_carried_out(serve: Serve) -> None:
    """A further one is refused with OVERLOADED and RetryInfo, a small one is not."""
    gates = [Gate(), Gate()]
    scripts: list[list[Any]] = [["Yes.", gate, Finish()] for gate in gates]
    provider = ScriptedProvider(*scripts)
    providers = {"scripted": provider, "echo": EchoProvider()}
    wire = await serve(with_server(max_bytes_in_flight=32 * MIB), providers=providers)
    large = chat_pb2.ChatRequest(messages=[user("x" * 3_000_000) for _ in range(5)], model="scripted/scripted")
    running = [wire.chat.Chat(large) for _ in gates]
    for gate in gates:
        await gate.reached.wait()
    with Refused() as refused:
        await wire.chat.Chat(large)
    assert (refused.reason, refused.retry_after) == ("OVERLOADED", 1)
    await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("Hi")], model="echo/echo"))
    for gate in gates:
        gate.open()
    await asyncio.gather(*running)
    await wire.chat.Chat(large)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_held_once_while_its_turn_waits(serve: Serve, stream: bool) -> None:
    """The turn has its messages; the bytes that came and what was made of them on the way are let go."""
    gates = [Gate() for _ in range(4)]
    scripts: list[list[Any]] = [[gate, "Yes.", Finish()] for gate in gates]
    provider = ScriptedProvider(*scripts)
    wire = await serve(with_server(), providers={"scripted": provider})
    body = chat_pb2.ChatRequest(messages=[user("x" * 2_000_000)] * 5, model="scripted/scripted").SerializeToString()
    kind: Any = wire.channel.unary_stream if stream else wire.channel.unary_unary
    tracemalloc.start()
    try:
        calls = [kind(CHAT if stream else "/contextprotocol.v1.ChatService/Chat")(body) for _ in gates]
        for gate in gates:
            await gate.reached.wait()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for call in calls:
        call.cancel()
    assert used < len(gates) * len(body) * 1.5


async def test_a_call_without_a_request_is_invalid(serve: Serve) -> None:
    """It ends before it has sent one."""
    wire = await serve(with_server())
    async with RawConnection(wire.server.address) as raw, asyncio.timeout(10):
        stream = raw.call(CHAT)
        raw.end(stream)
        assert b"no request" in await raw.ended(stream)
