"""The soak in a short form: a little of everything, and nothing left of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.soak.__main__ import Result, run
from tests.soak.hostile.outages import ANSWER, Outage, Outages


def shown(result: Result) -> str:
    """As people read it."""
    output = io.StringIO()
    result.show(Console(file=output, width=200))
    return output.getvalue()


async def test_a_short_soak_leaves_nothing_behind(seed: int) -> None:
    """No task, no turn, no connection, no memory; and what it did is told."""
    result = Result(seed)
    await run(result, seconds=6, sessions=20, kills=0, positions=0, upstreams=3)
    assert result.good, shown(result)
    assert f"--seed {seed}" in shown(result)


@pytest.mark.timeout(180, func_only=True)
async def test_clients_are_served_among_attackers_on_a_failing_machine(seed: int) -> None:
    """A canary is answered within a second of every outage, memory stays bounded, nothing acknowledged is lost."""
    result = Result(seed)
    await run(result, seconds=0, sessions=0, kills=0, positions=0, hostile=20)
    assert result.good, shown(result)


@pytest.mark.timeout(180, func_only=True)
async def test_the_books_of_tenants_balance(seed: int) -> None:
    """Usage is the sum of attempts and what the provider has counted; nothing is held, leaked, or seen by others."""
    result = Result(seed)
    await run(result, seconds=0, sessions=0, kills=0, positions=0, tenants=9)
    assert result.good, shown(result)


def test_a_turn_that_meets_an_outage_may_take_as_long_as_it_and_the_recovery() -> None:
    """One that does not, no longer than ever."""
    outages = Outages()
    outages.all += [
        Outage(cause=cause, begin=begin, end=begin + 1, recovery=2) for cause, begin in (("a", 10), ("b", 20))
    ]
    assert outages.deadline(8.5) == 8.5 + ANSWER
    assert outages.deadline(9.5) == outages.deadline(12.9) == 13 + ANSWER
    assert outages.deadline(13.0) == 13 + ANSWER
    assert [outage.cause for outage in outages.met(0, 10.5)] == ["a"]


def test_what_was_violated_is_shown(seed: int) -> None:
    """Each violation in a line of its own, and the run fails."""
    assert Result(seed).good
    violated = Result(seed, violations=["the canary waited [2.00] s"])
    assert not violated.good
    assert "violated: the canary waited [2.00] s" in shown(violated)
