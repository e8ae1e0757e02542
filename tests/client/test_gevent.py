"""The blocking client under gevent, as in ``gunicorn -k gevent``: in programs of their own, for gevent changes all."""

from __future__ import annotations

import asyncio
import json
import sys

from mcp_client import MCPClient
from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, ScriptedProvider, Step, running

SETUP = """
from gevent import monkey

monkey.patch_all()

import grpc.experimental.gevent

grpc.experimental.gevent.init_gevent()

import json
import sys

import gevent

from mcp_client import MCPSyncClient

client = MCPSyncClient(sys.argv[1])
"""

BESIDE = """
streams, others = [], []


def read():
    with client.stream_chat("Hi") as stream:
        for token in stream:
            streams.append(token)


def work():
    while not streams:
        gevent.sleep(0)
    for number in range(5):
        gevent.sleep(0.01)
        others.append(client.chat(str(number), model="other/scripted").text)


reading = gevent.spawn(read)
gevent.spawn(work).get()
print(json.dumps([streams, others]), flush=True)
sys.stdin.readline()
reading.get()
client.close()
print(json.dumps(streams), flush=True)
"""

LEAVE = """
def chats(session):
    client.chat("Hi", session=session)


def streams(session):
    with client.stream_chat("Hi", session=session) as stream:
        stream.reply()


def by_timeout(use, session):
    try:
        with gevent.Timeout(0.3):
            use(session)
    except gevent.Timeout:
        return "timeout"


def by_kill(use, session):
    greenlet = gevent.spawn(use, session)
    gevent.sleep(0.3)
    greenlet.kill()
    return type(greenlet.value).__name__


for use in (chats, streams):
    for leave in (by_timeout, by_kill):
        session = client.create_session()
        print(leave(use, session), [turn.state.value for turn in client.list_turns(session)], flush=True)
client.close()
"""


UNPREPARED = """
from gevent import monkey

monkey.patch_all()

import sys
import warnings

from mcp_client import MCPSyncClient

with warnings.catch_warnings(record=True) as caught, MCPSyncClient(sys.argv[1]) as client:
    client.health()
    client.health()
print(*[warning.message for warning in caught])
"""


async def run(program: str, address: str) -> asyncio.subprocess.Process:
    """Start a program."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, address, stdin=pipe, stdout=pipe)


async def test_a_stream_does_not_hold_up_the_worker() -> None:
    """Other greenlets make calls while it waits for the next token."""
    gate = Gate()
    provider = ScriptedProvider(["Hel", gate, "lo", Finish()])
    async with running(providers={"scripted": provider, "other": ScriptedProvider.saying(*"abcde")}) as server:
        process = await run(SETUP + BESIDE, server.address)
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline()) == [["Hel"], list("abcde")]
        gate.open()
        process.stdin.write(b"\n")
        assert json.loads(await process.stdout.readline()) == ["Hel", "lo"]
        assert await process.wait() == 0


async def test_a_greenlet_that_is_ended_leaves_no_busy_session() -> None:
    """By a timeout or by a kill, in a unary call or in a stream; and its exception arrives."""
    scripts: list[list[Step]] = [["Hel", Gate(), Finish()] for _ in range(4)]
    provider = ScriptedProvider(*scripts)
    async with running(providers={"scripted": provider}) as server:
        process = await run(SETUP + LEAVE, server.address)
        out, _ = await process.communicate()
        assert process.returncode == 0
        assert out.decode().splitlines() == ["timeout ['cancelled']", "GreenletExit ['cancelled']"] * 2
        async with MCPClient(server.address) as client:
            assert [session.active_turn async for session in client.list_sessions()] == [""] * 4
    assert (provider.cancelled, provider.active) == (4, 0)


async def test_a_program_that_has_not_prepared_grpc_is_warned() -> None:
    """Once, and not under a program that has."""
    async with running() as server:
        for program, warned in ((UNPREPARED, 1), (SETUP + UNPREPARED, 0)):
            process = await run(program, server.address)
            out, _ = await process.communicate()
            assert out.decode().count("init_gevent()") == warned
