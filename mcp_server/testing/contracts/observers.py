"""The contract of turn observers, as tests for their authors::

    class TestBilling(TurnObserverContract):
        def make(self) -> TurnObserver:
            return Billing()

pytest runs every test of the contract on it.
"""

from __future__ import annotations

from typing import Final

import pytest

from mcp_server.interfaces import TurnObserver
from mcp_server.values import SECOND, Attempt, Turn, TurnError, TurnState, Usage

NOW: Final = 1_800_000_000 * SECOND
ERROR: Final = TurnError(reason="PROVIDER_UNAVAILABLE", message="the provider cannot be reached")


def turn(state: TurnState) -> Turn:
    """A turn of the chat service in that state, with an attempt for each call to a provider."""
    if state is TurnState.QUEUED:
        return Turn(tenant="default", id="t", service="chat", state=state, create_time=NOW, waited=True)
    attempt = Attempt(
        provider="p",
        model="m",
        start_time=NOW,
        first_token_duration=SECOND,
        duration=2 * SECOND,
        usage=Usage(input_tokens=3, output_tokens=2),
        outcome=state,
        error=ERROR if state is TurnState.FAILED else None,
    )
    running = state is TurnState.RUNNING
    return Turn(
        tenant="default",
        id="t",
        service="chat",
        state=state,
        create_time=NOW,
        start_time=NOW,
        end_time=None if running else NOW + 2 * SECOND,
        attempts=() if running else (attempt,),
        error=ERROR if state is TurnState.FAILED else None,
    )


class TurnObserverContract:
    """What every observer does: it takes every turn without an exception. Override :meth:`make`."""

    def make(self) -> TurnObserver:
        """A new observer."""
        raise NotImplementedError

    @pytest.mark.parametrize("state", [TurnState.QUEUED, TurnState.RUNNING])
    def test_every_beginning_is_taken(self, state: TurnState) -> None:
        """Queued or running."""
        self.make().turn_started(turn(state))

    @pytest.mark.parametrize("state", sorted(set(TurnState) - {TurnState.QUEUED, TurnState.RUNNING}))
    def test_every_end_is_taken(self, state: TurnState) -> None:
        """Of a turn whose beginning it has seen."""
        observer = self.make()
        observer.turn_started(turn(TurnState.RUNNING))
        observer.turn_ended(turn(state))

    def test_an_end_without_a_beginning_is_taken(self) -> None:
        """A turn that was refused in the queue, or that another process began."""
        without_attempts = Turn(
            tenant="default", id="t", service="completion", state=TurnState.CANCELLED, create_time=NOW, end_time=NOW
        )
        self.make().turn_ended(without_attempts)

    @pytest.mark.parametrize("service", ["chat", "completion", "embedding"])
    def test_attempts_are_taken(self, service: str) -> None:
        """Failed and successful ones, and none at all."""
        attempts = [attempt for state in (TurnState.FAILED, TurnState.SUCCEEDED) for attempt in turn(state).attempts]
        observer = self.make()
        observer.attempts_ended(service, attempts)
        observer.attempts_ended(service, [])
