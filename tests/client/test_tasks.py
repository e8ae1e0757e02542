"""What only a client in an event loop meets: tasks that are cancelled, reads that are given up, other loops."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from mcp_client import MCPClient, Retry
from mcp_server.interfaces import Finish
from tests.client.beside import Gate, ScriptedProvider, StandIn
from tests.client.conftest import Connect
from tests.client.stand_in import OK, STARTED, text

QUICK = Retry(initial_delay=0.01, max_delay=0.02)


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


async def test_a_stop_is_carried_out_also_by_a_task_that_is_cancelled_twice() -> None:
    """The task ends at once, the stop goes on, and closing the client waits for it."""
    server = StandIn([STARTED, Gate()])
    server.may_stop.clear()
    async with server:
        client = MCPClient(server.address)

        async def read() -> None:
            async with client.stream_chat("Hi") as stream:
                async for _ in stream.events():
                    started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await started.wait()
        task.cancel()
        await server.stopping.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 0.5)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        server.may_stop.set()
        await closing
        assert server.cancelled == ["turns/t"]


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
