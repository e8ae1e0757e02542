"""Both clients under OpenTelemetry's interceptors for gRPC. A program of its own: they change the whole process."""

from __future__ import annotations

import asyncio
import sys

import pytest

from mcp_server.interfaces import Finish
from mcp_server.testing import Gate, ScriptedProvider, running

BLOCKING = """
import sys

from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient

GrpcInstrumentorClient().instrument()

from mcp_client import MCPSyncClient, SessionNotFound

with MCPSyncClient(sys.argv[1]) as client:
    session = client.create_session()
    try:
        with client.stream_chat("Hi", session=session) as stream:
            for token in stream:
                raise KeyError("of the program")
    except KeyError as error:
        print(error.args[0])
    print(client.get_turn(stream.turn).state.value)
    print(client.chat("Hi", session=session).text)
    with client.stream_chat("Hi", session=session) as stream:
        print(stream.reply().text)
    try:
        client.get_session("nobody")
    except SessionNotFound:
        print("not found")
"""

ASYNCHRONOUS = """
import asyncio
import sys

from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient

GrpcAioInstrumentorClient().instrument()

from mcp_client import MCPClient, SessionNotFound


async def main():
    async with MCPClient(sys.argv[1]) as client:
        session = await client.create_session()
        try:
            async with client.stream_chat("Hi", session=session) as stream:
                async for token in stream:
                    raise KeyError("of the program")
        except KeyError as error:
            print(error.args[0])
        print((await client.get_turn(stream.turn)).state.value)
        print((await client.chat("Hi", session=session)).text)
        async with client.stream_chat("Hi", session=session) as stream:
            print((await stream.reply()).text)
        try:
            await client.get_session("nobody")
        except SessionNotFound:
            print("not found")


asyncio.run(main())
"""


@pytest.mark.parametrize("program", [BLOCKING, ASYNCHRONOUS], ids=["blocking", "asynchronous"])
async def test_interceptors_of_opentelemetry_change_nothing(program: str) -> None:
    """The program's own exception arrives, the turn that was left is stopped, and the session is free."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()], ["one", Finish()], ["two", Finish()])
    async with running(providers={"scripted": provider}) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, server.address), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines() == ["of the program", "cancelled", "one", "two", "not found"]
