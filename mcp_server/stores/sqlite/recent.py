"""What the thread that writes remembers of what it wrote last, so that a turn need not read it again."""

from __future__ import annotations

from typing import Final

from mcp_server.values import MCPSession, Message, Turn

MAX_BYTES: Final = 8 * 1024 * 1024
"""The most that is remembered, as it is stored."""
_OVERHEAD: Final = 1024
"""What each session counts for besides."""
_MAX_TURNS: Final = 4096
"""The most turns that are remembered."""


class Known:
    """One session as it is in the file.

    Attributes:
        key: its key in the tables.
        session: the session.
        size: the bytes that its labels, context and so on take.
        shared: how many of its first messages other sessions wrote.
        tail: the end of its history, up to ``wanted`` messages. An empty one says nothing.
        tail_sizes: the bytes that each of them takes.
        wanted: the most messages that a turn has asked for.
    """

    __slots__ = ("key", "session", "shared", "size", "tail", "tail_sizes", "wanted")

    def __init__(self, key: int, session: MCPSession, size: int, shared: int) -> None:
        self.key = key
        self.session = session
        self.size = size
        self.shared = shared
        self.tail: tuple[Message, ...] = ()
        self.tail_sizes: tuple[int, ...] = ()
        self.wanted = 0


class RecentSessions:
    """The sessions that were written last, as many as :data:`MAX_BYTES` allows.

    They are right as long as nobody else writes to the file, and :meth:`clear` is called for a write that is undone.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Known, int]] = {}
        self._size = 0

    def take(self, tenant: str, session: str) -> Known | None:
        """What is known of the session. It is forgotten with that: :meth:`put` it back as it is afterwards."""
        found = self._known.pop((tenant, session), None)
        if found is None:
            return None
        known, size = found
        self._size -= size
        return known

    def put(self, known: Known) -> None:
        """Remember a session, and forget those that were used longest ago if that is too much."""
        size = known.size + sum(known.tail_sizes) + _OVERHEAD
        self._known[known.session.tenant, known.session.id] = known, size
        self._size += size
        while self._size > MAX_BYTES:
            _, size = self._known.pop(next(iter(self._known)))
            self._size -= size

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self._size = 0


Place = tuple[int | None, str | None]
"""Where a turn is found: the key of its session and its request_id, if it has them. It never changes."""


class WrittenTurn:
    """Where one unfinished turn is in the file.

    Attributes:
        key: its key in the tables.
        place: its session and its request_id.
        next_piece: the key of the next piece of its log.
    """

    __slots__ = ("key", "next_piece", "place")

    def __init__(self, key: int, place: Place, next_piece: int) -> None:
        self.key = key
        self.place = place
        self.next_piece = next_piece


class RecentTurns:
    """The unfinished turns that were written last; under the same conditions as :class:`RecentSessions`."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], WrittenTurn] = {}

    def take(self, turn: Turn) -> WrittenTurn | None:
        """Where the turn is, if that is known. It is forgotten with that."""
        return self._written.pop((turn.tenant, turn.id), None)

    def put(self, turn: Turn, written: WrittenTurn) -> None:
        """Remember where a turn is, and forget the one that was written longest ago if there are too many."""
        self._written[turn.tenant, turn.id] = written
        if len(self._written) > _MAX_TURNS:
            del self._written[next(iter(self._written))]

    def clear(self) -> None:
        """Forget all."""
        self._written.clear()
