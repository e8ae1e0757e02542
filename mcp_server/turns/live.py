"""The one registry of the turns that run or wait in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from mcp_server.sessions.ownership import Ownership
from mcp_server.values import IfBusy, Turn


class LiveTurn:
    """A turn that runs or waits in this process.

    Args:
        turn: the turn as it begins.
        if_busy: what happens if its session has a turn already.
    """

    def __init__(self, turn: Turn, if_busy: IfBusy) -> None:
        self.turn = turn
        """The turn as it is now, its message without parts."""
        self.if_busy = if_busy
        """What happens if its session has a turn already."""


T = TypeVar("T", bound=LiveTurn)


class LiveTurns(Generic[T]):
    """The runners of the turns in this process, by the id and by the request of the turn.

    Args:
        ownership: learns which turns these are.
    """

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._by_id: dict[str, T] = {}
        self._by_request: dict[tuple[str, str, str, str], T] = {}

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, turn_id: str) -> T | None:
        """The runner of the turn with that id."""
        return self._by_id.get(turn_id)

    def of_request(self, tenant: str, service: str, session: str, request_id: str) -> T | None:
        """The runner of the turn that the request with that id began, which is not empty."""
        return self._by_request.get((tenant, service, session, request_id))

    def add(self, runner: T) -> None:
        """Add a turn that begins."""
        turn = runner.turn
        self._by_id[turn.id] = runner
        self._ownership.live.add(turn.id)
        if turn.request_id:
            self._by_request[_request(turn)] = runner

    def rename(self, runner: T, former_id: str) -> None:
        """Note that a runner has taken over an interrupted turn, whose id it has from now on."""
        del self._by_id[former_id]
        self._ownership.live.discard(former_id)
        self._by_id[runner.turn.id] = runner
        self._ownership.live.add(runner.turn.id)

    def remove(self, runner: T) -> None:
        """Remove a turn that has ended."""
        del self._by_id[runner.turn.id]
        self._ownership.live.discard(runner.turn.id)
        self.forget_request(runner)

    def forget_request(self, runner: T) -> None:
        """Stop finding a turn by its request."""
        request = _request(runner.turn)
        if self._by_request.get(request) is runner:
            del self._by_request[request]


def _request(turn: Turn) -> tuple[str, str, str, str]:
    return turn.tenant, turn.service, turn.session, turn.request_id
