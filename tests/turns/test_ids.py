"""The ids of turns and sessions are in the order in which they are made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from mcp_client import MCPClient
from mcp_server.sessions.changes import IdSequence
from mcp_server.testing import running


async def test_turns_are_listed_in_order_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one millisecond, after it was set back, and after it was set forward."""
    real = time.time_ns
    async with running() as server, MCPClient(server.address) as client:
        session = await client.create_session()
        made: list[str] = []
        for hours in (0, -1, 2, 0):
            now = real() + hours * 3600 * 10**9
            monkeypatch.setattr(time, "time_ns", lambda now=now: now)
            made += [(await client.chat("Hi", session=session)).turn for _ in range(10)]
        assert [turn.name async for turn in client.list_turns(session, page_size=7)] == made[::-1]


def test_an_id_tells_its_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """And has the form that the ids in stores have."""
    monkeypatch.setattr(time, "time_ns", lambda: 0x123456789AB * 10**6)
    first, second = map(IdSequence().next, "tt")
    assert first[:13] == second[:13] == "t0123456789ab"
    assert len(first) == len(second) == 25
    assert first < second


def test_threads_share_a_sequence() -> None:
    """No id is made twice, and each thread's are in order."""
    ids = IdSequence()

    def make(_: int) -> list[str]:
        return [ids.next("t") for _ in range(2000)]

    with ThreadPoolExecutor(4) as executor:
        made = list(executor.map(make, range(4)))
    assert all(each == sorted(each) for each in made)
    assert len({one for each in made for one in each}) == 8000


def test_an_id_cannot_be_guessed_from_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a millisecond."""
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    ids = IdSequence()
    numbers = [int(ids.next(""), 16) for _ in range(200)]
    gaps = [after - before for before, after in pairwise(numbers)]
    assert len(set(gaps)) == len(gaps)
    assert sorted(gaps)[len(gaps) // 2] > 2**36
