"""Whatever callers do, in whatever order, sessions and turns are what a simple model says."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machine import FOREVER, DurableMachine, Machine, SharedMachine

BOUNDED = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [Machine, DurableMachine, SharedMachine], ids=["memory", "sqlite", "shared"])
def test_the_server_does_what_the_model_says(machine: type[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Creates, turns, retries, cancels, forks, rewinds, deletes, expiry, restarts where something lasts, a second
    server."""
    monkeypatch.setattr("mcp_server.app.LEASE_SECONDS", FOREVER)  # time passes quickly here
    run_state_machine_as_test(machine, settings=BOUNDED)
