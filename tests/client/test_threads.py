"""What only a blocking client meets: threads, event loops that it does not know of, Ctrl-C, and forks."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import psutil
import pytest

from mcp_client import InternalError, MCPSyncClient, Retry, ServerUnavailable, SessionNotFound
from mcp_server.interfaces import Finish
from tests.client.blocking.beside import LOOP, Gate, ScriptedProvider, StandIn, gather, running, spawn
from tests.client.blocking.conftest import Connect, client, connect, loop
from tests.client.stand_in import OK, STARTED, text

__all__ = ["client", "connect", "loop"]  # fixtures


def test_many_threads_share_one_client(client: MCPSyncClient) -> None:
    """Each with its own words, on one connection."""

    def say(number: int) -> None:
        words = f"this is number {number} " * 20
        for _ in range(5):
            with client.stream_chat(words) as stream:
                assert "".join(stream) == words
            assert client.chat(words).text == words

    gather(*[lambda number=number: say(number) for number in range(16)])


def test_it_works_where_an_event_loop_runs(client: MCPSyncClient) -> None:
    """As in a notebook; functions that a model asks for may be asynchronous there too."""

    async def cell() -> str:
        with client.stream_chat("Hello there") as stream:
            return "".join(stream)

    assert asyncio.run(cell()) == "Hello there"


def test_one_thread_may_close_what_another_uses(connect: Connect) -> None:
    """Whoever reads there is told so at once."""
    gate = Gate()
    client = connect(ScriptedProvider(["Hel", gate, Finish()]))
    read = threading.Event()

    def use() -> None:
        with client.stream_chat("Hi") as stream:
            assert next(stream) == "Hel"
            read.set()
            next(stream)

    reading = spawn(use)
    read.wait()
    client.close()
    with pytest.raises(ServerUnavailable, match="the client was closed"):
        reading.result()


def test_closing_waits_for_a_stop(connect: Connect) -> None:
    """That another thread is about to send."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()])
    server = StandIn([STARTED, Gate()])
    server.may_stop.clear()
    with server:
        client = MCPSyncClient(server.address)
        left = threading.Event()

        def use() -> None:
            with client.stream_chat("Hi") as stream:
                next(stream.events())
                left.set()

        leaving = spawn(use)
        left.wait()
        while not server.stopping.is_set():
            time.sleep(0.01)
        closing = spawn(client.close)
        assert not closing.done()
        LOOP.call(server.may_stop.set)
        closing.result()
        leaving.result()
        assert server.cancelled == ["turns/t"]
    assert provider.requests == []


@contextmanager
def interrupt(after: threading.Event | Gate) -> Iterator[None]:
    """Ctrl-C, in the main thread, once that has happened."""

    def send() -> None:
        (after.reached if isinstance(after, Gate) else after).wait()
        time.sleep(0.1)  # nobody tells that the main thread waits now
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        spawn(send)
        yield


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
def test_ctrl_c_stops_the_turn_and_not_the_client(connect: Connect, streamed: bool) -> None:
    """The session is free for the next call."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, Finish()], ["again", Finish()])
    client = connect(provider)
    session = client.create_session()
    with interrupt(gate):
        if streamed:
            with client.stream_chat("Hi", session=session) as stream:
                for token in stream:
                    assert token == "Hel"
        else:
            client.chat("Hi", session=session)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert client.chat("Hi", session=session).text == "again"


def test_a_stream_that_was_interrupted_can_be_gone_on_with() -> None:
    """If the program will: nothing is lost, and nothing comes twice."""
    gate = Gate()
    server = StandIn([STARTED, text(2, "a"), gate], [text(3, "b"), OK])
    retry = Retry(initial_delay=0.01)
    with server, MCPSyncClient(server.address, retry=retry) as client, client.stream_chat("Hi") as stream:
        assert next(stream) == "a"
        with interrupt(gate):
            next(stream)
        assert list(stream) == ["b"]
    assert server.requests[1].after_sequence == 2


def test_ctrl_c_ends_a_pause_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once. The pause is long, since Ctrl-C inside gRPC can leave a lock of its channel taken."""
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    paused, retry = threading.Event(), Retry(initial_delay=1.5)
    with (
        socketless() as address,
        MCPSyncClient(address, retry=retry, on_retry=lambda _: paused.set()) as client,
        interrupt(paused),
    ):
        client.chat("Hi")


@contextmanager
def socketless() -> Iterator[str]:
    """An address at which nobody is any more."""
    with StandIn() as server:
        pass
    yield server.address


FORKS = """
    import os, sys
    from mcp_client import MCPSyncClient

    client = MCPSyncClient(sys.argv[1])
    if sys.argv[2] == "used":
        client.health()
    elif sys.argv[2] == "another used":
        with MCPSyncClient(sys.argv[1]) as other:
            other.health()
    child = os.fork()
    if not child:
        try:
            print("child:", client.health(), flush=True)
        except RuntimeError as error:
            print("child:", error, flush=True)
        client.close()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print("parent:", client.health())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize(
    ("before", "child"),
    [
        ("unused", "serving"),
        ("used", "this process was forked from one"),
        ("another used", "this process was forked from one"),
    ],
)
def test_a_fork_before_the_first_use_is_no_matter(client: MCPSyncClient, before: str, child: str) -> None:
    """After it the child is told so, where gRPC would hang; the parent goes on in any case."""
    program = (sys.executable, "-c", textwrap.dedent(FORKS), client.address, before)
    done = subprocess.run(program, capture_output=True, text=True, timeout=30, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"child: {child}")
    assert second == "parent: serving"


def ask(address: str) -> str:
    """What a process of its own does."""
    with MCPSyncClient(address) as client:
        return client.chat("Hello").text


def test_processes_that_are_spawned_have_clients_of_their_own(client: MCPSyncClient) -> None:
    """However much the parent has used its own."""
    assert client.chat("Hello").text == "Hello"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ask, [client.address]) == "Hello"


def memory_of_streams_that_are_left() -> int:
    """How many bytes this process has grown by after 400 of them."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()])
    process = psutil.Process()
    with running(providers={"scripted": provider}) as server, MCPSyncClient(server.address) as client:

        def leave(times: int) -> int:
            for _ in range(times):
                with client.stream_turn(turn) as stream:
                    next(stream)
            gc.collect()
            return process.memory_info().rss

        with client.stream_chat("Hi", on_disconnect="continue") as stream:
            next(stream)
            turn = stream.turn
            before = leave(200)
            return leave(400) - before


def test_streams_that_are_left_leave_nothing_behind() -> None:
    """Whether they were stopped, watched or refused: gRPC keeps a call until its end is read."""
    assert memory_of_streams_that_are_left() < 4_000_000  # 8 MB without that


class Intercepted:
    """A channel as OpenTelemetry's instrumentation leaves it: its streams are generators, which cannot be cancelled."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_stream(self, method: str) -> Callable[..., Iterator[Any]]:
        """The method, which begins when the first response is read."""
        call: Any = self._channel.unary_stream(method)

        def stream(*arguments: Any, **options: Any) -> Iterator[Any]:
            yield from call(*arguments, **options)

        return stream


@pytest.fixture
def intercepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """All channels are."""
    make = grpc.insecure_channel
    monkeypatch.setattr(grpc, "insecure_channel", lambda *target, **options: Intercepted(make(*target, **options)))


@pytest.mark.usefixtures("intercepted")
def test_interceptors_hide_no_exception_and_leave_no_busy_session(connect: Connect) -> None:
    """Whether the program leaves a stream that it has read, or one that it has not."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()], ["again", Finish()], ["Hel", Gate(), Finish()])
    client = connect(provider)
    session = client.create_session()
    with pytest.raises(KeyError, match="of the program"), client.stream_chat("Hi", session=session) as stream:
        assert next(stream) == "Hel"
        raise KeyError("of the program")
    assert (provider.cancelled, provider.active) == (1, 0)
    assert client.chat("Hi", session=session).text == "again"
    with pytest.raises(KeyError, match="of the program"), client.stream_chat("Hi", session=session):
        raise KeyError("of the program")
    assert client.get_session(session).active_turn == ""
    with pytest.raises(SessionNotFound), client.stream_chat("Hi", session="nobody") as stream:
        stream.reply()


@pytest.mark.usefixtures("intercepted")
def test_streams_that_are_left_leave_nothing_behind_an_interceptor() -> None:
    """Nobody can read their end then, and gRPC frees them all the same."""
    assert memory_of_streams_that_are_left() < 4_000_000


def test_an_error_of_an_interceptor_is_not_hidden(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it has no status."""
    client = connect()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise grpc.RpcError("no tracer")

    monkeypatch.setattr(client._transport, "_callable", lambda _: refuse)
    with pytest.raises(InternalError, match="no tracer"):
        client.chat("Hi")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("error", [TimeoutError, SystemExit])
def test_an_exception_of_a_signal_handler_stops_the_turn(connect: Connect, error: type[BaseException]) -> None:
    """As the time limits of task queues and web servers raise it: the session is free, and the exception arrives."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()], ["again", Finish()])
    client = connect(provider)
    session = client.create_session()

    def end(*_: object) -> None:
        raise error("time is up")

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(error, match="time is up"):
            client.chat("Hi", session=session)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert client.chat("Hi", session=session).text == "again"


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocking client has the same settings as the asynchronous one."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    assert connect().chat("Hello").text == "Hello"
