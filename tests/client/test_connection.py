"""Reaching a server, waiting for one, losing one, and leaving it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager

import grpc
import msgspec
import pytest

from mcp_client import DeadlineExceeded, HealthStatus, MCPClient, RequestError, RetryNotice, ServerUnavailable
from mcp_server import settings
from mcp_server.interfaces import Finish
from mcp_server.testing import EchoProvider
from tests.client.beside import Gate, Moment, ScriptedProvider, Server, StandIn, running, sleep, spawn
from tests.client.conftest import Connect


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and nobody else can while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def server_at(address: str) -> AbstractAsyncContextManager[Server]:
    """A server with the provider ``echo``."""
    config = settings.testing_config(default_model="echo/echo")
    config = msgspec.structs.replace(config, server=settings.ServerSettings(address=address, drain_timeout=5))
    return running(config, providers={"echo": EchoProvider()})


async def test_a_missing_server_is_reported_at_once(nobody: str) -> None:
    """With the address, and not at the deadline."""
    begun = time.monotonic()
    async with MCPClient(nobody) as client:
        with pytest.raises(ServerUnavailable) as caught:
            await client.list_models()
        assert nobody in str(caught.value)
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "")
        with pytest.raises(ServerUnavailable):
            async with client.stream_chat("Hi") as stream:
                await stream.reply()
    assert time.monotonic() - begun < 10


async def test_a_server_that_never_answers_meets_the_deadline() -> None:
    """The call's own, or the client's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with MCPClient(address, timeout=0.2) as client:
            begun = time.monotonic()
            for act in (lambda: client.get_session("tour"), lambda: client.chat("Hi", timeout=0.2)):
                with pytest.raises(DeadlineExceeded):
                    await act()
            assert time.monotonic() - begun < 10


async def test_waiting_ends_when_a_server_serves(nobody: str) -> None:
    """Also if it is started after the waiting began."""
    async with MCPClient(nobody) as client:
        waiting = spawn(client.wait_until_ready, 30)
        await sleep(0.5)
        assert not waiting.done()
    with pytest.raises(ServerUnavailable):  # the client was closed meanwhile
        await waiting.result()

    async with running() as first:
        address = first.address
    async with MCPClient(address) as client:
        waiting = spawn(client.wait_until_ready, 30)
        async with server_at(address):
            await waiting.result()
            assert await client.health() is HealthStatus.SERVING


async def test_waiting_has_an_end(nobody: str) -> None:
    """With nobody there, and with somebody who does not serve."""
    async with MCPClient(nobody) as client:
        with pytest.raises(DeadlineExceeded, match=f"{nobody} was not ready within 0.3 s: no answer from {nobody}"):
            await client.wait_until_ready(0.3)
    async with StandIn() as server:
        server.serving = False
        async with MCPClient(server.address) as client:
            with pytest.raises(DeadlineExceeded):
                await client.wait_until_ready(0.5)
            assert 2 <= server.watches <= 8  # not in a hot loop

            server.serving = True
            await client.wait_until_ready(5)


async def test_health_is_known_by_service_and_provider(client: MCPClient) -> None:
    """And a name that is not known is the caller's error."""
    assert await client.health() is HealthStatus.SERVING
    assert await client.health("contextprotocol.v1.ChatService") is HealthStatus.SERVING
    assert await client.health("providers/echo") is HealthStatus.SERVING
    every = await client.list_health()
    assert every["providers/echo"] is HealthStatus.SERVING
    assert every.keys() >= {"", "contextprotocol.v1.SessionService"}
    with pytest.raises(RequestError):
        await client.health("no.such.Service")


async def test_health_is_watched_over_restarts() -> None:
    """Each change is told once: the server drains, is gone, and another one comes."""
    async with running() as first:
        address = first.address
        async with MCPClient(address) as client:
            statuses = client.watch_health("contextprotocol.v1.ChatService")
            assert await anext(statuses) is HealthStatus.SERVING
            await first.stop(grace=0)
            assert await anext(statuses) is HealthStatus.NOT_SERVING
            assert await anext(statuses) is HealthStatus.UNKNOWN
            async with server_at(address):
                assert await anext(statuses) is HealthStatus.SERVING
            await statuses.aclose()


async def test_watching_has_an_end(client: MCPClient, nobody: str) -> None:
    """What is not known and who is not there may come; until the caller's time is up, or the client is closed."""
    async with MCPClient(nobody) as stranger:
        for watching in (client.watch_health("no.such.Service", timeout=0.2), stranger.watch_health(timeout=0.2)):
            assert await anext(watching) is HealthStatus.UNKNOWN
            with pytest.raises(DeadlineExceeded):
                await anext(watching)
        watching = stranger.watch_health()
        assert await anext(watching) is HealthStatus.UNKNOWN
    with pytest.raises((ServerUnavailable, RuntimeError), match="closed"):
        await anext(watching)


async def test_a_server_that_came_back_is_found_again() -> None:
    """By the same client, without a word: a call that is made while it is away waits for it."""
    away = Moment()
    async with running() as first, MCPClient(first.address, on_retry=lambda _: away.set()) as client:
        await client.list_models()
        address = first.address
        await first.stop(grace=0)
        chat = spawn(client.chat, "Hello")
        await away.wait()
        async with server_at(address):
            assert (await chat.result()).text == "Hello"


async def test_closing_a_client_ends_its_calls(connect: Connect) -> None:
    """Those who wait are told so, and are not mistaken for cancelled tasks."""
    gate = Gate()
    provider = ScriptedProvider([gate, Finish()])
    notices: list[RetryNotice] = []
    client = await connect(provider, on_retry=notices.append)

    async def read() -> None:
        async with client.stream_chat("Hi") as stream:
            await stream.reply()

    chat, stream = spawn(client.chat, "Hi"), spawn(read)
    await gate.reached.wait()
    while len(provider.requests) < 2:  # the provider tells of one
        await sleep(0.01)
    await client.close()
    for call in (chat, stream):
        with pytest.raises(ServerUnavailable, match="the client was closed"):
            await call.result()
    assert notices == []  # nothing is to be sent again


async def test_a_closed_client_stays_closed(client: MCPClient) -> None:
    """Closing it again is no error; using it is."""
    await client.close()
    await client.close()
    for call in (client.list_models, lambda: client.chat("Hi"), client.wait_until_ready):
        with pytest.raises(RuntimeError, match="closed"):
            await call()
    with pytest.raises(RuntimeError, match="closed"):
        async with client.stream_chat("Hi"):
            pass


async def test_metadata_goes_with_each_call() -> None:
    """Streams, watches and retries of pages included."""
    async with StandIn() as server:
        async with MCPClient(server.address, metadata={"Authorization": "Bearer x", "x-team": "blue"}) as client:
            await client.wait_until_ready(10)
            await client.health()
            async with client.stream_chat("Hi") as stream:
                await stream.reply()
        assert len(server.metadata) == 3
        for sent in server.metadata:
            assert (sent["authorization"], sent["x-team"]) == ("Bearer x", "blue")
            assert sent["user-agent"].startswith("contextprotocol-python/")


async def test_credentials_secure_the_connection() -> None:
    """A server that takes no other is reached with them, and not without."""
    async with StandIn(credentials=grpc.local_server_credentials()) as server:
        client = MCPClient(server.address, credentials=grpc.local_channel_credentials())
        async with client:
            await client.wait_until_ready(10)
            assert await client.health() is HealthStatus.SERVING


async def test_the_environment_names_the_server(client: MCPClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of clients that are given no address."""
    monkeypatch.setenv("CONTEXTPROTOCOL_ADDRESS", client.address)
    async with MCPClient() as other:
        assert other.address == client.address
        assert await other.health() is HealthStatus.SERVING
    monkeypatch.setenv("CONTEXTPROTOCOL_ADDRESS", "")
    async with MCPClient() as usual:
        assert usual.address == "127.0.0.1:50051"


def test_importing_the_client_loads_no_more_than_it_needs() -> None:
    """Neither the server's libraries nor those of the command line."""
    program = (
        "import sys, mcp_client\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    unneeded = {
        "typer",
        "prompt_toolkit",
        "rich",
        "click",
        "mcp_server",
        "uvloop",
        "structlog",
        "prometheus_client",
        "aiohttp",
    }
    assert not unneeded & set(printed.split())
    assert {"mcp_client", "grpc", "google"} <= set(printed.split())
