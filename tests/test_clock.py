"""The wall clock is set forward and back while the server runs."""

from __future__ import annotations

import asyncio

import msgspec

from contextprotocol.v1 import chat_pb2, session_pb2
from mcp_server.lifecycle import TRUST_SECONDS, CautiousClock
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.values import SECOND
from tests.conftest import Serve
from tests.wire import user

DAY = 86_400
YEARS = 3650 * DAY


class Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall = 1000 * DAY
        self.passed = 0.0

    def go_on(self, seconds: int) -> None:
        self.wall += seconds
        self.passed += seconds

    @property
    def cautious(self) -> CautiousClock:
        return CautiousClock(lambda: self.wall * SECOND, lambda: self.passed)


def test_time_that_passes_counts() -> None:
    """However long."""
    clocks = Clocks()
    cautious = clocks.cautious
    for seconds in (1, DAY, YEARS):
        clocks.go_on(seconds)
        assert cautious() == clocks.wall * SECOND


def test_a_jump_forward_counts_when_it_has_lasted() -> None:
    """Until then time goes on as it did."""
    clocks = Clocks()
    cautious, start = clocks.cautious, clocks.wall
    clocks.wall += YEARS
    assert cautious() == start * SECOND
    clocks.go_on(TRUST_SECONDS // 2)
    assert cautious() == (start + TRUST_SECONDS // 2) * SECOND
    clocks.go_on(TRUST_SECONDS)
    assert cautious() == clocks.wall * SECOND


def test_a_jump_that_is_taken_back_never_counts() -> None:
    """And after one back it is never later than by the clock."""
    clocks = Clocks()
    cautious, start = clocks.cautious, clocks.wall
    clocks.wall += YEARS
    assert cautious() == start * SECOND
    clocks.wall -= YEARS
    assert cautious() == start * SECOND
    clocks.wall -= DAY
    assert cautious() == clocks.wall * SECOND


async def test_a_jump_forgets_no_request(serve: Serve) -> None:
    """The server goes on sweeping meanwhile, and a retry still finds its turn."""
    time, swept = 1000 * DAY * SECOND, asyncio.Event()
    config = settings(default_model="scripted/scripted")
    config = msgspec.structs.replace(config, sessions=msgspec.structs.replace(config.sessions, sweep_interval=1))
    provider = ScriptedProvider.saying("Hello")

    def clock() -> int:
        swept.set()
        return time

    wire = await serve(config, providers={"scripted": provider, "echo": EchoProvider()}, clock=clock)
    request = chat_pb2.ChatRequest(messages=[user("Hi")], request_id="r")
    first = await wire.chat.Chat(request)
    session = await wire.create("kept", ttl={"seconds": 3600})
    time += YEARS * SECOND
    for _ in range(2):  # the first may have begun before
        swept.clear()
        await swept.wait()
    await asyncio.sleep(0)
    time -= YEARS * SECOND
    assert (await wire.chat.Chat(request)).turn == first.turn
    assert len(provider.requests) == 1
    await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=session.name))
