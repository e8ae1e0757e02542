"""What must be true of sessions and turns, as simple as it can be said."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, Final

from contextprotocol.v1 import chat_pb2
from tests.faults.caller import Received
from tests.wire import text_of

SECOND: Final = 10**9
RETENTION: Final = 500
"""Seconds that ended turns and receipts are kept."""
MAX_QUEUED: Final = 2
"""How many turns of one session may wait."""


class State(enum.Enum):
    """As in the contract."""

    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    CANCELLED = 5
    INTERRUPTED = 6


@dataclass(eq=False)
class Turn:
    """A turn, and what its first caller has of it."""

    request: chat_pb2.ChatRequest
    session: Session
    state: State = State.RUNNING
    end_time: int = 0
    answer: str = ""
    """What it says in the end."""
    calls: int = 0
    """How often the provider was asked."""
    received: Received = field(default_factory=Received)
    stream: Any = None
    """Where its caller reads; ``None`` when it has left."""

    @property
    def name(self) -> str:
        """Its full name."""
        return self.received.turn

    @property
    def question(self) -> str:
        """What the provider is asked; no two turns ask the same."""
        return text_of(self.request.messages[0])

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in (State.QUEUED, State.RUNNING)


@dataclass(eq=False)
class Session:
    """A session."""

    id: str
    ttl: int | None
    """Seconds."""
    expire_time: int | None = None
    uid: str = ""
    etag: str = ""
    history: list[tuple[str, str]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    """Of the appends."""
    running: Turn | None = None
    waiting: list[Turn] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its full name."""
        return f"sessions/{self.id}"

    def touch(self, now: int) -> None:
        """It was used."""
        if self.ttl is not None:
            self.expire_time = now + self.ttl * SECOND

    def by_key(self, key: str) -> Turn | None:
        """The turn that this ``request_id`` became."""
        return next((turn for turn in self.turns if key and turn.request.request_id == key), None)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a request that is no turn became."""

    body: Any
    session: Session
    time: int
    index: int = 0


class World:
    """All there is."""

    def __init__(self) -> None:
        self.now = 1_000_000 * SECOND
        self.sessions: dict[str, Session] = {}
        self.receipts: dict[str, Receipt] = {}
        """Of creates and forks."""

    def session(self, session_id: str) -> Session | None:
        """The session with that id, unless it has expired."""
        session = self.sessions.get(session_id)
        if session is None or session.running is not None:
            return session
        return session if session.expire_time is None or session.expire_time > self.now else None

    @property
    def live(self) -> list[Session]:
        """The sessions that have not expired."""
        return [session for session_id in self.sessions if (session := self.session(session_id))]

    @property
    def turns(self) -> list[Turn]:
        """The turns that can be asked for."""
        return [turn for session in self.live for turn in session.turns]

    def sweep(self) -> None:
        """Forget what is kept no longer."""
        since = self.now - RETENTION * SECOND
        self.sessions = {session.id: session for session in self.live}
        self.receipts = {key: receipt for key, receipt in self.receipts.items() if receipt.time >= since}
        for session in self.sessions.values():
            session.turns = [turn for turn in session.turns if turn.live or turn.end_time >= since]
            session.receipts = {key: receipt for key, receipt in session.receipts.items() if receipt.time >= since}

    def end(self, turn: Turn, state: State) -> None:
        """A turn that was live has ended; whoever waits comes next by :meth:`next`."""
        session = turn.session
        turn.state, turn.end_time, turn.stream = state, self.now, None
        if session.running is turn:
            session.running = None
            session.touch(self.now)
        else:
            session.waiting.remove(turn)
        if state is State.SUCCEEDED:
            session.history += [("USER", turn.question), ("ASSISTANT", turn.answer)]

    def run(self, turn: Turn) -> None:
        """A turn gets its session."""
        session = turn.session
        assert session.running is None
        session.running = turn
        session.touch(self.now)
        turn.state, turn.calls = State.RUNNING, turn.calls + 1
        turn.answer = f"{begin(turn.question)}{len(session.history) + 1}"


def begin(question: str) -> str:
    """How the answer begins."""
    return f"{question} was asked behind "
