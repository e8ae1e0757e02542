"""What the thread that writes remembers of the sessions that it wrote last, so that a turn need not read them again."""

from __future__ import annotations

from typing import Final

from mcp_server.messages import MCPSession, Message

MAX_BYTES: Final = 8 * 1024 * 1024
"""The most that is remembered, as it is stored."""
_OVERHEAD: Final = 1024
"""What each session counts for besides."""


class Known:
    """One session as it is in the file.

    Attributes:
        key: its key in the tables.
        session: the session.
        size: the bytes that its labels, context and so on take.
        tail: the end of its history, up to ``wanted`` messages. An empty one says nothing.
        tail_sizes: the bytes that each of them takes.
        wanted: the most messages that a turn has asked for.
    """

    __slots__ = ("key", "session", "size", "tail", "tail_sizes", "wanted")

    def __init__(self, key: int, session: MCPSession, size: int) -> None:
        self.key = key
        self.session = session
        self.size = size
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
