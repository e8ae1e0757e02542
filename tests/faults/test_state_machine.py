"""Whatever callers do, in whatever order, sessions and turns are what a simple model says."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import DurableMachine, Machine

BOUNDED = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [Machine, DurableMachine], ids=["memory", "sqlite"])
def test_the_server_does_what_the_model_says(machine: type[Machine]) -> None:
    """Creates, turns, retries, cancels, forks, deletes, expiry, and restarts where something lasts."""
    run_state_machine_as_test(machine, settings=BOUNDED)
