# Generated from tests/client/test_connection.py by scripts/generate: edit that file.

"""Reaching a server, waiting for one, losing one, and leaving it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import grpc
import msgspec
import pytest

from mcp_client import DeadlineExceeded, HealthStatus, MCPSyncClient, RequestError, RetryNotice, ServerUnavailable
from mcp_server import settings
from mcp_server.interfaces import Finish
from mcp_server.testing import EchoProvider
from tests.client.blocking.beside import Gate, Moment, ScriptedProvider, Server, StandIn, running, sleep, spawn
from tests.client.blocking.conftest import Connect


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and nobody else can while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def server_at(address: str) -> AbstractContextManager[Server]:
    """A server with the provider ``echo``."""
    config = settings.testing_config(default_model="echo/echo")
    config = msgspec.structs.replace(config, server=settings.ServerSettings(address=address, drain_timeout=5))
    return running(config, providers={"echo": EchoProvider()})


def test_a_missing_server_is_reported_at_once(nobody: str) -> None:
    """With the address, and not at the deadline."""
    begun = time.monotonic()
    with MCPSyncClient(nobody) as client:
        with pytest.raises(ServerUnavailable) as caught:
            client.list_models()
        assert nobody in str(caught.value)
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "")
        with pytest.raises(ServerUnavailable):
            with client.stream_chat("Hi") as stream:
                stream.reply()
    assert time.monotonic() - begun < 10


def test_a_server_that_never_answers_meets_the_deadline() -> None:
    """The call's own, or the client's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with MCPSyncClient(address, timeout=0.2) as client:
            begun = time.monotonic()
            for act in (lambda: client.get_session("tour"), lambda: client.chat("Hi", timeout=0.2)):
                with pytest.raises(DeadlineExceeded):
                    act()
            assert time.monotonic() - begun < 10


def test_waiting_ends_when_a_server_serves(nobody: str) -> None:
    """Also if it is started after the waiting began."""
    with MCPSyncClient(nobody) as client:
        waiting = spawn(client.wait_until_ready, 30)
        sleep(0.5)
        assert not waiting.done()
    with pytest.raises(ServerUnavailable):  # the client was closed meanwhile
        waiting.result()

    with running() as first:
        address = first.address
    with MCPSyncClient(address) as client:
        waiting = spawn(client.wait_until_ready, 30)
        with server_at(address):
            waiting.result()
            assert client.health() is HealthStatus.SERVING


def test_waiting_has_an_end(nobody: str) -> None:
    """With nobody there, and with somebody who does not serve."""
    with MCPSyncClient(nobody) as client:
        with pytest.raises(DeadlineExceeded, match=f"{nobody} was not ready within 0.3 s: no answer from {nobody}"):
            client.wait_until_ready(0.3)
    with StandIn() as server:
        server.serving = False
        with MCPSyncClient(server.address) as client:
            with pytest.raises(DeadlineExceeded):
                client.wait_until_ready(0.5)
            assert 2 <= server.watches <= 8  # not in a hot loop

            server.serving = True
            client.wait_until_ready(5)


def test_health_is_known_by_service_and_provider(client: MCPSyncClient) -> None:
    """And a name that is not known is the caller's error."""
    assert client.health() is HealthStatus.SERVING
    assert client.health("contextprotocol.v1.ChatService") is HealthStatus.SERVING
    assert client.health("providers/echo") is HealthStatus.SERVING
    every = client.list_health()
    assert every["providers/echo"] is HealthStatus.SERVING
    assert every.keys() >= {"", "contextprotocol.v1.SessionService"}
    with pytest.raises(RequestError):
        client.health("no.such.Service")


def test_health_is_watched_over_restarts() -> None:
    """Each change is told once: the server drains, is gone, and another one comes."""
    with running() as first:
        address = first.address
        with MCPSyncClient(address) as client:
            statuses = client.watch_health("contextprotocol.v1.ChatService")
            assert next(statuses) is HealthStatus.SERVING
            first.stop(grace=0)
            assert next(statuses) is HealthStatus.NOT_SERVING
            assert next(statuses) is HealthStatus.UNKNOWN
            with server_at(address):
                assert next(statuses) is HealthStatus.SERVING
            statuses.close()


def test_watching_has_an_end(client: MCPSyncClient, nobody: str) -> None:
    """What is not known and who is not there may come; until the caller's time is up, or the client is closed."""
    with MCPSyncClient(nobody) as stranger:
        for watching in (client.watch_health("no.such.Service", timeout=0.2), stranger.watch_health(timeout=0.2)):
            assert next(watching) is HealthStatus.UNKNOWN
            with pytest.raises(DeadlineExceeded):
                next(watching)
        watching = stranger.watch_health()
        assert next(watching) is HealthStatus.UNKNOWN
    with pytest.raises((ServerUnavailable, RuntimeError), match="closed"):
        next(watching)


def test_a_server_that_came_back_is_found_again() -> None:
    """By the same client, without a word: a call that is made while it is away waits for it."""
    away = Moment()
    with running() as first, MCPSyncClient(first.address, on_retry=lambda _: away.set()) as client:
        client.list_models()
        address = first.address
        first.stop(grace=0)
        chat = spawn(client.chat, "Hello")
        away.wait()
        with server_at(address):
            assert (chat.result()).text == "Hello"


def test_closing_a_client_ends_its_calls(connect: Connect) -> None:
    """Those who wait are told so, and are not mistaken for cancelled tasks."""
    gate = Gate()
    provider = ScriptedProvider([gate, Finish()])
    notices: list[RetryNotice] = []
    client = connect(provider, on_retry=notices.append)

    def read() -> None:
        with client.stream_chat("Hi") as stream:
            stream.reply()

    chat, stream = spawn(client.chat, "Hi"), spawn(read)
    gate.reached.wait()
    while len(provider.requests) < 2:  # the provider tells of one
        sleep(0.01)
    client.close()
    for call in (chat, stream):
        with pytest.raises(ServerUnavailable, match="the client was closed"):
            call.result()
    assert notices == []  # nothing is to be sent again


def test_a_closed_client_stays_closed(client: MCPSyncClient) -> None:
    """Closing it again is no error; using it is."""
    client.close()
    client.close()
    for call in (client.list_models, lambda: client.chat("Hi"), client.wait_until_ready):
        with pytest.raises(RuntimeError, match="closed"):
            call()
    with pytest.raises(RuntimeError, match="closed"):
        with client.stream_chat("Hi"):
            pass


def test_metadata_goes_with_each_call() -> None:
    """Streams, watches and retries of pages included."""
    with StandIn() as server:
        with MCPSyncClient(server.address, metadata={"Authorization": "Bearer x", "x-team": "blue"}) as client:
            client.wait_until_ready(10)
            client.health()
            with client.stream_chat("Hi") as stream:
                stream.reply()
        assert len(server.metadata) == 3
        for sent in server.metadata:
            assert (sent["authorization"], sent["x-team"]) == ("Bearer x", "blue")
            assert sent["user-agent"].startswith("contextprotocol-python/")


def test_credentials_secure_the_connection() -> None:
    """A server that takes no other is reached with them, and not without."""
    with StandIn(credentials=grpc.local_server_credentials()) as server:
        client = MCPSyncClient(server.address, credentials=grpc.local_channel_credentials())
        with client:
            client.wait_until_ready(10)
            assert client.health() is HealthStatus.SERVING


def test_the_environment_names_the_server(client: MCPSyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of clients that are given no address."""
    monkeypatch.setenv("CONTEXTPROTOCOL_ADDRESS", client.address)
    with MCPSyncClient() as other:
        assert other.address == client.address
        assert other.health() is HealthStatus.SERVING
    monkeypatch.setenv("CONTEXTPROTOCOL_ADDRESS", "")
    with MCPSyncClient() as usual:
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
