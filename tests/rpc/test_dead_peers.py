"""A server notices clients that are gone without a word, and keeps those that are only silent."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys

import pytest

from mcp_client import MCPClient
from mcp_server.interfaces import Finish
from mcp_server.rpc import server as rpc
from mcp_server.testing import Gate, ScriptedProvider, running

PROGRAM = """
import sys
from mcp_client import MCPSyncClient

with MCPSyncClient(sys.argv[1]) as client:
    with client.stream_chat("Hi", on_disconnect="cancel") as stream:
        for token in stream:
            print(token, flush=True)
"""
CONNECTION = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0"
"""What a client of HTTP/2 sends first: its preface, its settings, and that it has read those of the server."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server pings after half a second."""
    monkeypatch.setattr(rpc, "options", functools.partial(rpc.options, (0.5, 0.5)))


async def test_a_connection_without_a_peer_is_closed_and_a_silent_one_is_kept() -> None:
    """Nobody answers the pings on the first; gRPC itself does on the other."""
    async with running() as server, MCPClient(server.address, retry=None) as client:
        await client.health()
        host, _, port = server.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(CONNECTION)
        async with asyncio.timeout(10):
            await reader.read()  # until the server closes it
        writer.close()
        assert await client.health() == "serving"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
async def test_the_turn_of_a_client_that_has_frozen_is_cancelled() -> None:
    """Its connection stays open, and nothing comes over it."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()])
    async with running(providers={"scripted": provider}) as server:
        program = [sys.executable, "-c", PROGRAM, server.address]
        process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"Hel\n"
            process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(10):
                await provider.stopped.wait()
        finally:
            process.kill()
            await process.wait()
