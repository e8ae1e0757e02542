"""What only a client in an event loop meets: tasks that are cancelled, reads that are given up, other loops."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest

from mcp_client import MCPClient, Retry, Session, record_metadata
from mcp_server.interfaces import Finish, ToolCallStart
from mcp_server.values import Capabilities, FinishReason, Model
from tests.client.beside import Gate, ScriptedProvider, StandIn, running
from tests.client.conftest import Connect
from tests.client.stand_in import OK, STARTED, text

QUICK = Retry(initial_delay=0.01, max_delay=0.02)
ABLE = Model(name="scripted", capabilities=Capabilities(chat=True, completion=True, tools=True))


async def test_a_cancelled_call_is_cancelled(connect: Connect) -> None:
    """Its task ends as asyncio has it, at once, and the model stops."""
    gate = Gate()
    provider = ScriptedProvider([gate, Finish()])
    client = await connect(provider)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.chat("Hi")
    task = asyncio.create_task(client.chat("Hi"))
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await provider.stopped.wait()


async def test_the_recording_of_metadata_ends_with_its_block(connect: Connect) -> None:
    """Also for the tasks that the block has started: those that run on would fill a list that nobody reads."""
    client = await connect(ScriptedProvider.saying("One.", "Two."))
    called, over = asyncio.Event(), asyncio.Event()

    async def run_on() -> None:
        await client.chat("Hi")
        called.set()
        await over.wait()
        await client.chat("Hi")

    with record_metadata() as outer:
        with record_metadata() as inner:
            task = asyncio.create_task(run_on())
            await called.wait()
        over.set()
        await task
    assert (len(inner), len(outer)) == (1, 2)


def test_a_client_can_be_made_outside_of_any_loop_and_stays_in_its_first() -> None:
    """Another loop is said to be another, where gRPC would only hang."""
    with StandIn.in_a_thread() as address:
        client = MCPClient(address)
        with asyncio.Runner() as first, asyncio.Runner() as second:
            first.run(client.wait_until_ready(10))
            with pytest.raises(RuntimeError, match="event loop"):
                second.run(client.health())
            first.run(client.close())


async def test_a_read_that_is_given_up_can_be_made_again() -> None:
    """A timeout around one token ends the wait, and not the answer: nothing is lost, and nothing comes twice."""
    more = Gate()
    server = StandIn([STARTED, text(2, "a"), more, text(3, "b"), OK], [text(3, "b"), OK])
    async with server, MCPClient(server.address, retry=QUICK) as client, client.stream_chat("Hi") as stream:
        assert await anext(stream) == "a"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(stream)
        assert [token async for token in stream] == ["b"]
        more.open()
    assert server.requests[1].after_sequence == 2


async def test_a_task_that_is_cancelled_again_waits_for_its_stop() -> None:
    """So that the session is free when the task has ended; the stop takes a second at most."""
    server = StandIn([STARTED, Gate()])
    server.may_stop.clear()
    async with server, MCPClient(server.address) as client:

        async def read() -> None:
            async with client.stream_chat("Hi") as stream:
                async for _ in stream.events():
                    started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        await server.stopping.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        server.may_stop.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.cancelled == ["turns/t"]


async def test_closing_waits_for_a_stop() -> None:
    """That another task is about to send."""
    gate = Gate()
    server = StandIn([STARTED, gate], [STARTED, Gate()])
    server.may_stop.clear()
    async with server:
        client = MCPClient(server.address)
        task = asyncio.create_task(client.chat("Hi"))
        await gate.reached.wait()
        task.cancel()
        await server.stopping.wait()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        server.may_stop.set()
        await closing
        assert server.cancelled == ["turns/t"]
        with pytest.raises(asyncio.CancelledError):
            await task


@contextmanager
def anyio_scope(gate: Gate) -> Iterator[None]:
    """Cancelled once the provider has reached the gate, and then in each step of the loop until it is left."""
    with anyio.CancelScope() as scope:
        task = asyncio.create_task(gate.reached.wait())
        task.add_done_callback(lambda _: scope.cancel())
        yield


async def chats(client: MCPClient, session: Session) -> None:
    """A unary call."""
    await client.chat("Hi", session=session)


async def streams(client: MCPClient, session: Session) -> None:
    """A stream that is read."""
    async with client.stream_chat("Hi", session=session) as stream:
        await stream.reply()


async def completes(client: MCPClient, session: Session) -> None:
    """A unary call of another service."""
    await client.complete("Hi", session=session, save_as="note")


async def chats_with_tools(client: MCPClient, session: Session) -> None:
    """A stream behind another one."""
    await client.chat_with_tools("Hi", tools=[chr_of], session=session)


def chr_of(number: int) -> str:
    """A function that is never called."""
    return chr(number)


@pytest.mark.parametrize("use", [chats, streams, completes, chats_with_tools])
async def test_a_cancelled_scope_of_anyio_leaves_no_busy_session(
    connect: Connect, use: Callable[[MCPClient, Session], Awaitable[None]]
) -> None:
    """Although its cancellation interrupts every wait, that for the stop included."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()], ["again", Finish()], model=ABLE)
    client = await connect(provider)
    session = await client.create_session()
    with anyio_scope(gate):
        await use(client, session)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (await client.chat("Hi", session=session)).text == "again"


async def test_a_cancelled_scope_of_anyio_closes_the_client_that_it_leaves() -> None:
    """Its connection is not leaked."""
    gate = Gate()
    async with running(providers={"scripted": ScriptedProvider([gate, Finish()])}) as server:
        client = MCPClient(server.address)
        with anyio_scope(gate):
            async with client:
                await client.chat("Hi")
        with pytest.raises(RuntimeError, match="the client is closed"):
            await client.health()


async def test_a_cancelled_scope_of_anyio_waits_for_the_functions_of_a_chat(connect: Connect) -> None:
    """They are cancelled, and what they do in their end is done when the scope is left."""
    events: list[str] = []
    gate = Gate()

    async def look() -> str:
        """Looks."""
        try:
            await gate.passed()
            return "seen"
        finally:
            await asyncio.sleep(0.05)
            events.append("cleaned up")

    client = await connect(
        ScriptedProvider([ToolCallStart(id="1", name="look"), Finish(reason=FinishReason.TOOL_CALLS)], model=ABLE)
    )
    with anyio_scope(gate):
        await client.chat_with_tools("Hi", tools=[look])
    assert events == ["cleaned up"]


async def test_an_exception_within_a_cancelled_scope_is_not_hidden(connect: Connect) -> None:
    """What the program raises on its way out reaches it."""
    gate = Gate()
    client = await connect(ScriptedProvider(["Hel", gate, Finish()]))
    session = await client.create_session()
    with pytest.raises(KeyError, match="of the program"), anyio_scope(gate):
        async with client.stream_chat("Hi", session=session) as stream:
            try:
                await stream.reply()
            finally:
                raise KeyError("of the program")
    assert [turn.state async for turn in client.list_turns(session)] == ["cancelled"]


async def test_a_timeout_of_anyio_is_one_for_every_call() -> None:
    """Also for one that involves no turn: it raises what anyio promises, and not a cancellation that is nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with MCPClient(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            with pytest.raises(TimeoutError), anyio.fail_after(0.1):
                await client.get_session("tour")
            with pytest.raises(TimeoutError), anyio.fail_after(0.1):
                await client.wait_until_ready()


async def test_a_stream_whose_task_is_cancelled_is_left(connect: Connect) -> None:
    """The task ends as asyncio has it, the model stops, and the session is free for the next call."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = await connect(provider)
    session = await client.create_session("tour")

    async def read() -> None:
        async with client.stream_chat("Hi", session=session) as stream:
            async for _ in stream:
                reached.set()

    reached = asyncio.Event()
    task = asyncio.create_task(read())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (await client.chat("Hi", session=session)).text == "again"


async def test_a_unary_call_whose_task_is_cancelled_stops_its_turn(connect: Connect) -> None:
    """So that its session is free at once; and not if it is to go on."""
    provider = ScriptedProvider(["Hel", Gate(), "lo", Finish()], ["again", Finish()])
    client = await connect(provider)
    session = await client.create_session("tour")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.chat("Hi", session=session)
    assert (provider.cancelled, provider.active) == (1, 0)
    assert (await client.chat("Hi", session=session)).text == "again"
    assert [turn.state async for turn in client.list_turns(session)] == ["succeeded", "cancelled"]


FORKED = """
import asyncio, os, sys
from mcp_client import MCPClient

async def ask() -> None:
    async with MCPClient(sys.argv[1]) as client:
        print(await client.health(), flush=True)

asyncio.run(ask())
if not os.fork():
    try:
        asyncio.run(ask())
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_after_the_first_use_is_reported_as_too_late() -> None:
    """Where gRPC would hang."""
    with StandIn.in_a_thread() as address:
        command = [sys.executable, "-c", FORKED, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    first, second = done.stdout.splitlines()
    assert first == "serving"
    assert second.startswith("this process was forked from one")
