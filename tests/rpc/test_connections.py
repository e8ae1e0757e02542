"""One caller cannot take the place of all others: connections, streams and descriptors are limited."""

from __future__ import annotations

import asyncio
import resource
import threading
from contextlib import suppress
from typing import Any, Final

import grpc
import msgspec
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from contextprotocol.v1 import chat_pb2
from mcp_client import MCPClient
from mcp_server.interfaces import Finish
from mcp_server.rpc.descriptors import DescriptorWatch, descriptors_for_connections, in_use, raise_limit
from mcp_server.settings import Config, ServerSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.http2 import connect, resets
from tests.wire import Refused, user

STREAM_CHAT: Final = "/contextprotocol.v1.ChatService/StreamChat"


def with_server(**server: Any) -> Config:
    return msgspec.structs.replace(
        settings(default_model="echo/echo"), server=ServerSettings(address="127.0.0.1:0", **server)
    )


def attack(address: str, begun: threading.Event) -> None:
    """Reset calls on one connection as fast as it takes them, until it has no more or closes."""
    flood = resets(STREAM_CHAT, 1, 50_000)
    with connect(address) as connection, suppress(OSError):
        connection.sendall(flood[:100_000])
        begun.set()
        connection.sendall(flood[100_000:])
    begun.set()


async def test_calls_that_are_reset_at_once_cancel_nobody_else(serve: Serve) -> None:
    """However many come on one connection."""
    wire = await serve(with_server(), providers={"echo": EchoProvider()})
    begun = threading.Event()
    attacker = asyncio.create_task(asyncio.to_thread(attack, wire.server.address, begun))
    await asyncio.to_thread(begun.wait)
    calls = 0
    while calls < 50 or not attacker.done():
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("x")]))
        calls += 1
    await attacker


async def test_the_health_is_answered_while_other_calls_are_turned_away(serve: Serve) -> None:
    """It does not wait behind them: a server that has too much to do is not dead."""
    wire = await serve(with_server(max_pending=1), providers={"echo": EchoProvider()})
    request = chat_pb2.ChatRequest(messages=[user("x")])
    calls = [asyncio.ensure_future(wire.chat.Chat(request)) for _ in range(100)]
    for _ in range(5):
        checked = await wire.health.Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
    ended = await asyncio.gather(*calls, return_exceptions=True)
    codes = {each.code() for each in ended if isinstance(each, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.CANCELLED}


async def test_a_client_opens_further_connections_when_its_own_are_full(serve: Serve) -> None:
    """Long streams do not wait for each other."""
    gates = [Gate() for _ in range(5)]
    scripts: list[list[Any]] = [["one", gate, Finish()] for gate in gates]
    wire = await serve(
        with_server(max_streams=2),
        providers={"scripted": ScriptedProvider(*scripts)},
    )
    async with MCPClient(wire.server.address) as client:
        calls = [asyncio.create_task(client.chat("Hi", model="scripted/scripted")) for _ in gates]
        for gate in gates:
            await gate.reached.wait()
        for gate in gates:
            gate.open()
        assert [answer.text for answer in await asyncio.gather(*calls)] == ["one"] * len(gates)


async def test_more_connections_than_allowed_are_closed(serve: Serve) -> None:
    """Those that are open go on, and there is room again when one of them is closed."""
    wire = await serve(with_server(max_connections=2), providers={"echo": EchoProvider()})
    options = [("grpc.use_local_subchannel_pool", 1)]
    ask = "/contextprotocol.v1.ModelService/ListModels"
    await wire.create()
    second = grpc.aio.insecure_channel(wire.server.address, options=options)
    call: Any = second.unary_unary(ask)
    await call(b"")
    async with grpc.aio.insecure_channel(wire.server.address, options=options) as third:
        call = third.unary_unary(ask)
        with Refused() as refused:
            await call(b"")
        assert refused.code is grpc.StatusCode.UNAVAILABLE
        await wire.say("still here")
        await second.close()
        await call(b"", wait_for_ready=True, timeout=20)


async def test_a_connection_without_calls_is_closed(serve: Serve) -> None:
    """Its client connects again with the next call."""
    wire = await serve(with_server(idle_timeout=1), providers={"echo": EchoProvider()})
    await wire.create()
    assert wire.channel.get_state() is grpc.ChannelConnectivity.READY
    async with asyncio.timeout(20):
        await wire.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
    await wire.say("back again")


def test_a_server_may_open_as_many_descriptors_as_its_system_allows() -> None:
    """The lower limit that most processes begin with is raised; some are kept for other things than connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        limit = raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit > 512
        assert limit // 2 <= descriptors_for_connections() < limit
        assert 0 < in_use() < limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_operator_learns_that_descriptors_run_out() -> None:
    """Once, and again when they have run out again."""
    watch = DescriptorWatch()
    with capture_logs() as lines:
        for used in (10, 79, 81, 99, 10, 85):
            watch.look(used, 100)
    assert [line["used"] for line in lines] == [81, 85]
    assert "ulimit" in lines[0]["advice"]
