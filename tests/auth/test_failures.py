"""Failures of one host are delayed; nobody else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contextprotocol.v1 import key_pb2
from mcp_server.middleware.authentication import failures
from mcp_server.middleware.authentication.failures import BURST, MAX_DELAY, MAX_HOSTS, Failures, host_of
from mcp_server.testing import EchoProvider
from tests.auth.keys import bearer, config_with, new_key
from tests.conftest import Serve
from tests.wire import Refused


class Time:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_few_failures_are_answered_at_once_and_more_are_delayed() -> None:
    """By the longest delay, and at once again after a pause."""
    time = Time()
    counted = Failures(time)
    assert [counted.note("ipv4:192.0.2.1:1") for _ in range(BURST)] == [0.0] * BURST
    assert [counted.note("ipv4:192.0.2.1:2") for _ in range(3)] == [MAX_DELAY] * 3
    assert counted.note("ipv4:192.0.2.2:1") == 0.0
    time.now = BURST + 2
    assert counted.note("ipv4:192.0.2.1:3") == 0.0


def test_only_so_many_hosts_are_remembered() -> None:
    """Whoever comes from many addresses cannot fill the memory."""
    counted = Failures(Time())
    for number in range(MAX_HOSTS + 100):
        counted.note(f"ipv4:10.{number >> 16}.{number >> 8 & 255}.{number & 255}:1")
    assert len(counted._used) == MAX_HOSTS


@pytest.mark.parametrize(
    ("peer", "host"),
    [("ipv4:192.0.2.1:4711", "ipv4:192.0.2.1"), ("ipv6:%5B::1%5D:80", "ipv6:%5B::1%5D"), ("unix:/a:b", "unix:/a:b")],
)
def test_ports_do_not_count(peer: str, host: str) -> None:
    """A connection of its own for each failure does not help."""
    assert host_of(peer) == host


async def test_a_good_key_is_not_delayed_behind_the_same_address(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a failure of the same host waits, calls with a valid key are answered."""
    monkeypatch.setattr(failures, "BURST", 0)
    monkeypatch.setattr(failures, "MAX_DELAY", 30.0)
    key = new_key("red")
    wire = await serve(config_with(key), providers={"echo": EchoProvider()})
    ask: Any = key_pb2.WhoAmIRequest()
    failing = asyncio.ensure_future(wire.keys.WhoAmI(ask, metadata=bearer("ctx_wrong")))
    for _ in range(3):
        await wire.keys.WhoAmI(ask, metadata=key.metadata)
    assert not failing.done()
    failing.cancel()


async def test_a_delay_holds_few_calls(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds its request: further failures are answered at once."""
    monkeypatch.setattr(failures, "BURST", 0)
    monkeypatch.setattr(failures, "MAX_DELAY", 30.0)
    monkeypatch.setattr(failures, "MAX_WAITING", 1)
    wire = await serve(config_with(new_key("red")), providers={"echo": EchoProvider()})
    ask: Any = key_pb2.WhoAmIRequest()
    calls = {asyncio.ensure_future(wire.keys.WhoAmI(ask)) for _ in range(2)}
    done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert (len(done), len(waiting)) == (1, 1)
    with Refused() as refused:
        await done.pop()
    assert refused.reason == "BAD_CREDENTIALS"
    waiting.pop().cancel()
