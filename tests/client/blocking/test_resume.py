# Generated from tests/client/test_resume.py by scripts/generate: edit that file.

"""Connections that are cut and servers that restart, in the middle of an answer: who reads it notices a pause."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_client import (
    AttemptSwitched,
    DeadlineExceeded,
    Delta,
    MCPSyncClient,
    RetryNotice,
    ServerUnavailable,
    TurnNotFound,
    TurnState,
)
from mcp_server.interfaces import Finish
from tests.client.blocking.beside import Gate, Moment, Process, Proxy, ScriptedProvider, Server, running, spawn
from tests.client.steady import PIECES, config


@contextmanager
def proxied(provider: ScriptedProvider, **options: Any) -> Iterator[tuple[MCPSyncClient, Proxy]]:
    """A server behind a proxy, and a client that has reached it."""
    with (
        running(providers={"scripted": provider}) as server,
        Proxy(server.address, lambda _: ()) as proxy,
        MCPSyncClient(proxy.address, **options) as client,
    ):
        client.wait_until_ready(10)
        yield client, proxy


@contextmanager
def serving(address: str, provider: ScriptedProvider, path: Path | None) -> Iterator[Server]:
    """A server with an address of its own, on SQLite or, without a path, on nothing that lasts."""
    with running(config(address, path), providers={"scripted": provider}) as server:
        yield server


@pytest.fixture
def address() -> str:
    """An address that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_a_cut_connection_is_but_a_pause() -> None:
    """The model is asked once, no token is lost or comes twice, and who listens is told why it paused."""
    notices: list[RetryNotice] = []
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    with proxied(provider, on_retry=notices.append) as (client, proxy):
        session = client.create_session()
        with client.stream_chat("Hi", session=session) as stream:
            assert next(stream) == "Hel"
            sequence = stream.sequence
            proxy.cut_all()
            gate.open()
            assert list(stream) == ["lo"]
        assert stream.text == "Hello"
        assert (client.get_turn(stream.turn)).state is TurnState.SUCCEEDED
    assert len(provider.requests) == 1
    assert {(notice.method, notice.sequence) for notice in notices} == {("ChatService.StreamChat", sequence)}
    assert isinstance(notices[0].error, ServerUnavailable)


def test_an_answer_comes_whole_over_many_connections() -> None:
    """Each cut somewhere else."""
    seed = random.randrange(1 << 32)  # noqa: S311  # no secret
    generator = random.Random(seed)  # noqa: S311  # no secret
    provider = ScriptedProvider([*[step for piece in PIECES for step in (piece, 0.002)], Finish()])
    cuts = 0
    with proxied(provider) as (client, proxy), client.stream_chat("Hi") as stream:
        read = []
        for token in stream:
            read.append(token)
            if cuts < 10 and generator.random() < 0.2:
                proxy.cut_all()
                cuts += 1
    assert "".join(read) == stream.text == "".join(PIECES), f"seed {seed}"
    assert len(provider.requests) == 1
    assert cuts > 0, f"seed {seed}"


def test_a_unary_call_finds_its_turn_again() -> None:
    """The connection was lost while it waited; the turn went on, and is paid once."""
    gate = Gate()
    provider = ScriptedProvider([gate, "Hello", Finish()])
    again = Moment()
    with proxied(provider, on_retry=lambda _: again.set()) as (client, proxy):
        chat = spawn(client.chat, "Hi")
        gate.reached.wait()
        proxy.cut_all()
        again.wait()
        gate.open()
        assert (chat.result()).text == "Hello"
    assert len(provider.requests) == 1


def test_a_restarted_server_is_but_a_pause(address: str, tmp_path: Path) -> None:
    """In the middle of ``for``: the next process runs the turn again, and says what to drop."""
    begun, started = Moment(), Moment()
    first, second = ScriptedProvider(["dropped ", Gate()]), ScriptedProvider([*PIECES, Finish()])
    with MCPSyncClient(address) as client, ExitStack() as stack:

        def serve() -> None:
            with serving(address, first, tmp_path / "sessions.db"):
                started.set()
                begun.wait()
            stack.enter_context(serving(address, second, tmp_path / "sessions.db"))

        servers = spawn(serve)
        started.wait()
        session = client.create_session("tour")
        kept: list[str] = []
        with client.stream_chat("Hi", session=session) as stream:
            for event in stream.events():
                if isinstance(event, AttemptSwitched) and event.restarted:
                    kept.clear()
                elif isinstance(event, Delta):
                    kept.append(event.text)
                    begun.set()
        servers.result()
        assert "".join(kept) == stream.text == "".join(PIECES)
        turn = client.get_turn(stream.turn)
        assert [attempt.outcome for attempt in turn.attempts] == ["interrupted", "succeeded"]
        assert [message.text for message in client.list_messages(session)] == ["Hi", stream.text]
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_a_killed_server_is_but_a_pause(address: str, tmp_path: Path) -> None:
    """Streams and unary calls end with the whole answer of the process that came after."""
    path = tmp_path / "sessions.db"
    program = ("-m", "tests.client.steady", address, str(path))
    with MCPSyncClient(address) as client, Process(*program) as first:
        assert first.read_line() == b"ready\n"
        client.create_session("tour")
        chat = spawn(client.chat, "Hi, all of you", session=client.create_session())
        with client.stream_chat("Hi", session="tour") as stream:
            while len(stream.text) < 50:
                next(stream)
            first.kill()
            following = spawn(stream.reply)
            with Process(*program):
                assert (following.result()).text == stream.text == "".join(PIECES)
                assert (chat.result()).text == stream.text
                turn = client.get_turn(stream.turn)
                assert [attempt.outcome for attempt in turn.attempts] == ["interrupted", "succeeded"]
                assert [message.text for message in client.list_messages("tour")] == ["Hi", stream.text]


def test_a_server_that_forgets_ends_the_stream(address: str) -> None:
    """With the error that says so, and what had come."""
    provider = ScriptedProvider(["Hel", Gate()])
    with (
        MCPSyncClient(address) as client,
        serving(address, provider, None) as server,
        client.stream_chat("Hi") as stream,
    ):
        assert next(stream) == "Hel"
        server.stop(grace=0)
        with serving(address, ScriptedProvider.saying("Hello"), None):
            with pytest.raises(TurnNotFound):
                next(stream)
            assert stream.text == "Hel"
            assert (client.chat("Hi")).text == "Hello"


def test_a_deadline_is_kept_while_the_server_is_away(address: str) -> None:
    """Also by a client that has known the server and would be patient."""
    provider = ScriptedProvider(["Hel", Gate()])
    with MCPSyncClient(address) as client, serving(address, provider, None) as server:
        client.list_models()
        begun = time.monotonic()
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            with client.stream_chat("Hi", timeout=1.5) as stream:
                for _ in stream:
                    server.stop(grace=0)
        with pytest.raises((ServerUnavailable, DeadlineExceeded)):
            client.chat("Hi", timeout=0.5)
        assert 1 < time.monotonic() - begun < 10
