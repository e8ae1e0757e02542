"""The queue of a session: the turns of this process that have it or wait for it, in order."""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, TypeVar

from mcp_server.errors import TurnCancelled
from mcp_server.turns.claims import Entry
from mcp_server.turns.live import LiveTurn
from mcp_server.values import IfBusy, Turn, TurnState

SessionKey = tuple[str, str]
"""The tenant and the id of a session."""


T = TypeVar("T", bound=LiveTurn)


class _Queue(Generic[T]):
    """The turns of one session."""

    __slots__ = ("members", "running", "waiting")

    def __init__(self) -> None:
        self.members: list[T] = []
        self.running: T | None = None
        self.waiting: list[T] = []

    @property
    def head(self) -> T | None:
        """The turn that may try to claim the session; ``None`` while another turn of this process has it."""
        return self.waiting[0] if self.waiting and self.running is None else None


class SessionQueues(Generic[T]):
    """A queue for each session that has turns in this process.

    Which turn may write a session is decided by its claim in the store. A queue decides which turn may try to claim it,
    so that those that wait come in order of arrival.

    Args:
        max_waiting: how many turns may wait for one session.
    """

    def __init__(self, *, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        """How many turns may wait for one session."""
        self._queues: defaultdict[SessionKey, _Queue[T]] = defaultdict(_Queue)

    def __len__(self) -> int:
        return len(self._queues)

    def join(self, turn: T) -> None:
        """Add a turn."""
        queue = self._queues[_key(turn)]
        queue.members.append(turn)
        if turn.if_busy is IfBusy.QUEUE:
            queue.waiting.append(turn)
        elif turn.if_busy is IfBusy.CANCEL_RUNNING:
            queue.waiting.insert(0, turn)

    def entry(self, turn: T) -> Entry:
        """The place of a turn in its queue."""
        ahead = self._ahead(turn)
        if turn.if_busy is IfBusy.REJECT:
            return Entry(ahead=ahead)
        return Entry(wait=True, ahead=ahead, full=len(self._queues[_key(turn)].waiting) > self.max_waiting)

    def position(self, turn: T) -> int:
        """How many turns precede this one, which waits; the running one included."""
        return self._queues[_key(turn)].waiting.index(turn) + 1

    def start(self, turn: T) -> None:
        """Note that a turn has its session and runs."""
        queue = self._queues[_key(turn)]
        queue.running = turn
        if turn in queue.waiting:
            queue.waiting.remove(turn)

    def obstacles(self, turn: T) -> list[T]:
        """What a turn with CANCEL_RUNNING stops: the running turn, and waiting ones that came before to do the same."""
        queue = self._queues[_key(turn)]
        following = queue.waiting[queue.waiting.index(turn) + 1 :]
        others = [other for other in following if other.if_busy is IfBusy.CANCEL_RUNNING]
        if queue.running is not None:
            others.append(queue.running)
        return others

    def leave(self, turn: T) -> T | None:
        """Remove a turn that has ended, or never began; return the next one if it may now try to claim the session."""
        key = _key(turn)
        queue = self._queues[key]
        queue.members.remove(turn)
        if queue.running is turn:
            queue.running = None
        if turn in queue.waiting:
            queue.waiting.remove(turn)
        if not queue.members:
            del self._queues[key]
        return queue.head

    def heads(self) -> list[T]:
        """The first of each queue of which no turn runs here: another server may have had the session."""
        return [queue.head for queue in self._queues.values() if queue.head is not None]

    def of(self, tenant: str, session: str, uid: str) -> list[T]:
        """All turns of a session."""
        queue = self._queues.get((tenant, session))
        return [] if queue is None else [turn for turn in queue.members if turn.turn.session_uid == uid]

    def _ahead(self, turn: T) -> str:
        """The full name of a waiting turn that precedes this one, or an empty string."""
        for other in self._queues[_key(turn)].waiting:
            if other is turn:
                break
            # A turn that does not wait gives way only to turns that are stored as waiting.
            if turn.if_busy is not IfBusy.REJECT or other.turn.state is TurnState.QUEUED:
                return other.turn.name
        return ""


def cancelled_by_later_call(turn: Turn) -> TurnCancelled:
    """The error of a turn that a call with CANCEL_RUNNING has stopped."""
    return TurnCancelled(f"the turn {turn.name} was cancelled by a later call", metadata={"turn": turn.name})


def _key(turn: LiveTurn) -> SessionKey:
    return turn.turn.tenant, turn.turn.session
