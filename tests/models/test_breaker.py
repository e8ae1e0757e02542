"""The circuit of a provider, by a clock of the test's own."""

from __future__ import annotations

import pytest

from mcp_server.models.circuit import Circuit


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """Opens after two failures, for ten seconds."""
    return Circuit(failures=2, open_seconds=10, clock=clock)


def fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        circuit.failed(probe=circuit.begin())


def test_it_opens_after_failures_in_a_row(circuit: Circuit) -> None:
    """A success between two of them counts them from the beginning."""
    fail(circuit, 1)
    circuit.begin()
    circuit.succeeded()
    fail(circuit, 1)
    assert circuit.wait == 0
    fail(circuit, 1)
    assert circuit.wait == 10


def test_one_call_is_probe(circuit: Circuit, clock: Clock) -> None:
    """While it is, no other goes; it closes the circuit, or opens it for as long again."""
    fail(circuit, 2)
    clock.now += 10
    assert circuit.wait == 0
    assert circuit.begin()
    assert circuit.wait > 0
    circuit.failed(probe=True)
    assert circuit.wait == 10
    clock.now += 10
    assert circuit.begin()
    circuit.succeeded()
    assert circuit.wait == 0
    assert not circuit.begin()


def test_a_call_probe_that_answers_lets_others_come(circuit: Circuit, clock: Clock) -> None:
    """One more failure is then enough."""
    fail(circuit, 2)
    clock.now += 10
    circuit.answering(probe=circuit.begin())
    assert circuit.wait == 0
    fail(circuit, 1)
    assert circuit.wait == 10


def test_an_older_call_does_not_speak_for_the_one_probe(circuit: Circuit, clock: Clock) -> None:
    """What began before the circuit opened may fail late: it neither ends the trial nor makes anybody wait longer."""
    older = circuit.begin()
    fail(circuit, 2)
    clock.now += 5
    circuit.failed(probe=older)
    assert circuit.wait == 5
    clock.now += 5
    assert circuit.begin()
    for end in (circuit.failed, circuit.abandoned, circuit.answering):
        end(probe=older)
        assert circuit.wait > 0
    circuit.limit_rate(1, probe=older)
    assert circuit.wait > 0


def test_a_trial_that_is_given_up_leaves_its_place(circuit: Circuit, clock: Clock) -> None:
    """The next call is on trial."""
    fail(circuit, 2)
    clock.now += 10
    circuit.abandoned(probe=circuit.begin())
    assert circuit.wait == 0
    assert circuit.begin()


def test_peace_is_kept_for_as_long_as_it_was_asked_for(circuit: Circuit, clock: Clock) -> None:
    """A rate limit is no failure."""
    for _ in range(3):
        circuit.limit_rate(4, probe=circuit.begin())
    assert (circuit.wait, circuit.rate_limited) == (0, 4)
    clock.now += 5
    assert circuit.rate_limited == 0
