"""Caches of the writing thread, so that a turn need not read again what was written a moment ago.

They are correct as long as no other connection writes to the file and they are cleared when a transaction is rolled
back.
"""

from __future__ import annotations

from typing import Final

from mcp_server.values import MCPSession, Message, Turn

MAX_BYTES: Final = 8 * 1024 * 1024
"""The size of the session cache, in bytes as encoded."""
_OVERHEAD: Final = 1024
"""Bytes that every cached session counts in addition."""
_MAX_TURNS: Final = 4096
"""The size of the turn cache, in turns."""


class CachedSession:
    """A session as it is stored.

    Attributes:
        key: its key in the tables.
        session: the session.
        summary_size: the size of its summary, in bytes as encoded.
        content_size: the size of its content, in bytes as encoded.
        shared: how many of its first messages other sessions wrote.
        bytes: the size of all that it has written, in bytes as encoded.
        tail: the last messages of its history, up to ``wanted``. Empty if they have not been read.
        tail_sizes: the size of each of them, in bytes as encoded.
        wanted: the largest number of messages that a change has asked for.
        wanted_bytes: the largest number of bytes.
    """

    __slots__ = (
        "bytes",
        "content_size",
        "key",
        "session",
        "shared",
        "summary_size",
        "tail",
        "tail_sizes",
        "wanted",
        "wanted_bytes",
    )

    def __init__(
        self, key: int, session: MCPSession, *, summary_size: int, content_size: int, shared: int, bytes: int
    ) -> None:
        self.key = key
        self.session = session
        self.summary_size = summary_size
        self.content_size = content_size
        self.shared = shared
        self.bytes = bytes
        self.tail: tuple[Message, ...] = ()
        self.tail_sizes: tuple[int, ...] = ()
        self.wanted = 0
        self.wanted_bytes = 0


class SessionCache:
    """The most recently written sessions, up to :data:`MAX_BYTES`."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], tuple[CachedSession, int]] = {}
        self._size = 0

    def pop(self, tenant: str, session: str) -> CachedSession | None:
        """Remove a session from the cache and return it; :meth:`put` it back once it is up to date."""
        entry = self._entries.pop((tenant, session), None)
        if entry is None:
            return None
        cached, size = entry
        self._size -= size
        return cached

    def put(self, cached: CachedSession) -> None:
        """Add a session, and evict the least recently used ones beyond the limit."""
        size = cached.summary_size + cached.content_size + sum(cached.tail_sizes) + _OVERHEAD
        self._entries[cached.session.tenant, cached.session.id] = cached, size
        self._size += size
        while self._size > MAX_BYTES:
            _, size = self._entries.pop(next(iter(self._entries)))
            self._size -= size

    def clear(self) -> None:
        """Evict everything."""
        self._entries.clear()
        self._size = 0


TurnIndex = tuple[int | None, str | None]
"""The key of a turn's session and its request_id, where it has them. They never change."""


class CachedTurn:
    """Where an unfinished turn is stored.

    Attributes:
        key: its key in the tables.
        index: its session and its request_id.
        next_piece: the key of the next piece of its log.
    """

    __slots__ = ("index", "key", "next_piece")

    def __init__(self, key: int, index: TurnIndex, next_piece: int) -> None:
        self.key = key
        self.index = index
        self.next_piece = next_piece


class TurnCache:
    """The most recently written unfinished turns."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], CachedTurn] = {}

    def pop(self, turn: Turn) -> CachedTurn | None:
        """Remove a turn from the cache and return it."""
        return self._entries.pop((turn.tenant, turn.id), None)

    def put(self, turn: Turn, cached: CachedTurn) -> None:
        """Add a turn, and evict the least recently used one beyond the limit."""
        self._entries[turn.tenant, turn.id] = cached
        if len(self._entries) > _MAX_TURNS:
            del self._entries[next(iter(self._entries))]

    def clear(self) -> None:
        """Evict everything."""
        self._entries.clear()
