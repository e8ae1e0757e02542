"""Who is next on a session: the turns of this process that have one, or wait for it, in order."""

from __future__ import annotations

from collections import defaultdict
from typing import Final, Generic, Protocol, TypeVar

from mcp_server.errors import MCPError, TurnCancelled
from mcp_server.values import IfBusy, Turn, TurnState

Key = tuple[str, str]
"""The tenant and the id of a session."""


class Waiting(Protocol):
    """A turn as its line sees it."""

    turn: Turn
    if_busy: IfBusy

    def go(self) -> None:
        """It may be its turn now."""

    def cancel(self, error: MCPError) -> None:
        """Stop it."""


T = TypeVar("T", bound=Waiting)


class _Line(Generic[T]):
    """The turns of one session."""

    __slots__ = ("members", "running", "waiting")

    def __init__(self) -> None:
        self.members: list[T] = []
        self.running: T | None = None
        self.waiting: list[T] = []


class Lines(Generic[T]):
    """A line for each session that has turns.

    Which turn may write a session is decided by the claim in the store. A line decides who may try, so that those that
    wait come in order, and tells them when to try.

    Args:
        max_waiting: how many turns of one session may wait.
    """

    def __init__(self, *, max_waiting: int) -> None:
        self._max_waiting: Final = max_waiting
        self._lines: defaultdict[Key, _Line[T]] = defaultdict(_Line)

    def join(self, turn: T) -> None:
        """A turn has come."""
        line = self._lines[_key(turn)]
        line.members.append(turn)
        if turn.if_busy is IfBusy.QUEUE:
            line.waiting.append(turn)
        elif turn.if_busy is IfBusy.CANCEL_RUNNING:
            line.waiting.insert(0, turn)

    def ahead(self, turn: T) -> str:
        """The full name of a turn that waits and goes before this one, or nothing."""
        for other in self._lines[_key(turn)].waiting:
            if other is turn:
                break
            # One that will not wait has to heed only those that are known to.
            if turn.if_busy is not IfBusy.REJECT or other.turn.state is TurnState.QUEUED:
                return other.turn.name
        return ""

    def full(self, turn: T) -> bool:
        """Whether there is no room to wait for this one, which has joined."""
        return len(self._lines[_key(turn)].waiting) > self._max_waiting

    def position(self, turn: T) -> int:
        """How many turns go before this one, which waits; the running one included."""
        return self._lines[_key(turn)].waiting.index(turn) + 1

    def runs(self, turn: T) -> None:
        """A turn has got its session."""
        line = self._lines[_key(turn)]
        line.running = turn
        if turn in line.waiting:
            line.waiting.remove(turn)

    def make_way(self, turn: T) -> None:
        """Stop what runs, and what came before ``turn`` to do the same and waits."""
        line = self._lines[_key(turn)]
        behind = line.waiting[line.waiting.index(turn) + 1 :]
        others = [other for other in behind if other.if_busy is IfBusy.CANCEL_RUNNING]
        if line.running is not None:
            others.append(line.running)
        for other in others:
            name = other.turn.name
            other.cancel(TurnCancelled(f"the turn {name} was cancelled by a later call", metadata={"turn": name}))

    def leave(self, turn: T) -> None:
        """A turn has ended, or never began; whoever is next may try."""
        key = _key(turn)
        line = self._lines[key]
        line.members.remove(turn)
        if line.running is turn:
            line.running = None
        if turn in line.waiting:
            line.waiting.remove(turn)
        if line.waiting:
            line.waiting[0].go()
        if not line.members:
            del self._lines[key]

    def of(self, tenant: str, session: str, uid: str) -> list[T]:
        """All turns of a session."""
        line = self._lines.get((tenant, session))
        return [] if line is None else [turn for turn in line.members if turn.turn.session_uid == uid]


def _key(turn: Waiting) -> Key:
    return turn.turn.tenant, turn.turn.session
