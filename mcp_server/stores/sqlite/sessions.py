"""Writes the rows of sessions: the session itself, its labels, its messages and what a fork shares."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from mcp_server.stores.sqlite.cache import CachedSession, SessionCache
from mcp_server.stores.sqlite.queries import Queries
from mcp_server.stores.sqlite.rows import (
    Range,
    Segment,
    content_of,
    encode,
    first_segments,
    history,
    hot_columns,
    messages_of,
    own_messages,
    summary_of,
)
from mcp_server.values import MCPSession, Message

Source = tuple[int, int, int]
"""A session to fork: its key, how many messages it shares itself, and how many it has."""


class SessionRows:
    """Writes to the tables of sessions, within a transaction."""

    def __init__(self, connection: sqlite3.Connection, queries: Queries, cache: SessionCache) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._queries = queries
        self._cache = cache
        row = self._execute(
            "SELECT max(coalesce((SELECT max(key) FROM sessions), 0), coalesce((SELECT max(session) FROM removed), 0),"
            " coalesce((SELECT max(writer) FROM segments), 0))"
        ).fetchone()
        self._last_key: int = row[0]

    # -- a session ----------------------------------------------------------------------------------------------------

    def insert(self, session: MCPSession, shared: Sequence[Segment], append: Sequence[Message]) -> CachedSession:
        """Create a session that shares the messages of these segments, and append messages."""
        self._last_key = key = self._last_key + 1
        count = shared[-1][1] if shared else 0
        summary, content = summary_of(session), content_of(session)
        bodies = [encode(message) for message in append]
        size = len(summary) + len(content) + sum(map(len, bodies))
        self._execute(
            "INSERT INTO sessions (key, tenant, id, uid, create_time, creator, shared, bytes, update_time, etag,"
            " expire_time, end_time, message_count, claim, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(key, session.tenant, session.id, session.uid, session.create_time, session.key, count, size),
                *hot_columns(session),
            ),
        )
        self._connection.executemany(
            "INSERT INTO segments (session, stop, writer) VALUES (?, ?, ?)",
            [(key, stop, writer) for writer, stop in shared],
        )
        self._execute("INSERT INTO contents (key, summary, content) VALUES (?, ?, ?)", (key, summary, content))
        if session.labels:
            self._insert_labels(key, session)
        for writer, stop in shared:
            if self._heir(writer) == (key, stop):  # it replaces a session that had been the heir
                if (former := self._heir(writer, other_than=key)) is not None:
                    self._charge(former[0], -self._size(writer, former[1]))
                size += self._charge(key, self._size(writer, stop))
        cached = CachedSession(
            key, session, summary_size=len(summary), content_size=len(content), shared=count, bytes=size
        )
        self._append(cached, append, bodies)
        return cached

    def update(self, cached: CachedSession, new: MCPSession, append: Sequence[Message]) -> None:
        """Write the fields that differ, and append messages."""
        key, old = cached.key, cached.session
        size = cached.bytes
        bodies: Sequence[bytes] = ()
        if append:
            bodies = [encode(message) for message in append]
            size += sum(map(len, bodies))
        # A turn returns the very objects that it received: they are neither compared nor written.
        if (
            new.labels is not old.labels
            or new.ttl != old.ttl
            or new.system_instruction is not old.system_instruction
            or new.default_model is not old.default_model
            or new.parent is not old.parent
        ):
            summary = summary_of(new)
            size += len(summary) - cached.summary_size
            cached.summary_size = len(summary)
            self._execute("UPDATE contents SET summary = ? WHERE key = ?", (summary, key))
            if new.labels != old.labels:
                self._delete_labels(old)
                self._insert_labels(key, new)
        if (
            new.context is not old.context
            or new.metadata is not old.metadata
            or new.hidden_turns is not old.hidden_turns
        ):
            content = content_of(new)
            size += len(content) - cached.content_size
            cached.content_size = len(content)
            self._execute("UPDATE contents SET content = ? WHERE key = ?", (content, key))
        hot = "update_time = ?, etag = ?, expire_time = ?, end_time = ?, message_count = ?, claim = ?, tokens = ?"
        if size == cached.bytes:
            self._execute(f"UPDATE sessions SET {hot} WHERE key = ?", (*hot_columns(new), key))
        else:
            cached.bytes = size
            self._execute(f"UPDATE sessions SET {hot}, bytes = ? WHERE key = ?", (*hot_columns(new), size, key))
        cached.session = new
        if append:
            self._append(cached, append, bodies)

    def delete(self, cached: CachedSession) -> None:
        """Delete a session. Its messages and turns are left to the garbage collector; those that forks share count for
        one of these from now on."""
        key = cached.key
        left = [key]
        if cached.shared:
            left += [writer for writer, stop in self._queries.segments(key) if self._heir(writer) == (key, stop)]
        self._delete_labels(cached.session)
        self._execute("DELETE FROM contents WHERE key = ?", (key,))
        self._execute("DELETE FROM sessions WHERE key = ?", (key,))
        self._execute("INSERT INTO removed (session) VALUES (?)", (key,))
        if cached.shared:
            self._mark_writers(key)
            self._execute("DELETE FROM segments WHERE session = ?", (key,))
        for writer in left:
            self._charge_heir(writer)

    def _mark_writers(self, key: int) -> None:
        """Let the garbage collector look at the deleted sessions whose messages this one shares: they may have kept
        them only for this one."""
        self._execute(
            "INSERT OR IGNORE INTO removed (session) SELECT writer FROM segments g WHERE session = ?"
            " AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.key = g.writer)",
            (key,),
        )

    def _charge_heir(self, writer: int) -> None:
        """Count what forks share of a deleted session for one of them."""
        if (heir := self._heir(writer)) is not None:
            self._charge(heir[0], self._size(writer, heir[1]))

    def _heir(self, writer: int, *, other_than: int = 0) -> tuple[int, int] | None:
        """The fork for which the messages of a deleted session count, and how many they are: the oldest of those forks
        that share most. ``None`` if there is none, or the session is not deleted."""
        heir: tuple[int, int] | None = self._execute(
            "SELECT session, stop FROM segments WHERE writer = ? AND session != ? AND stop ="
            " (SELECT max(stop) FROM segments WHERE writer = ? AND session != ?)"
            " AND NOT EXISTS (SELECT 1 FROM sessions WHERE key = ?) ORDER BY session LIMIT 1",
            (writer, other_than, writer, other_than, writer),
        ).fetchone()
        return heir

    def _size(self, writer: int, stop: int, *, start: int = 0) -> int:
        """The size of the messages with ``start <= index < stop`` that a session wrote."""
        first, _ = own_messages(writer)
        size: int = self._execute(
            "SELECT coalesce(sum(length(body)), 0) FROM messages WHERE key >= ? AND key < ?",
            (first + start, first + stop),
        ).fetchone()[0]
        return size

    def _charge(self, key: int, size: int) -> int:
        """Count so many more bytes for a session, and return them."""
        self._execute("UPDATE sessions SET bytes = bytes + ? WHERE key = ?", (size, key))
        for tenant, name in self._execute("SELECT tenant, id FROM sessions WHERE key = ?", (key,)).fetchall():
            self._cache.pop(tenant, name)
        return size

    def _insert_labels(self, key: int, session: MCPSession) -> None:
        self._connection.executemany(
            "INSERT INTO labels (tenant, name, value, create_time, uid, session) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session.tenant, name, value, session.create_time, session.uid, key)
                for name, value in session.labels.items()
            ],
        )

    def _delete_labels(self, session: MCPSession) -> None:
        self._connection.executemany(
            "DELETE FROM labels WHERE tenant = ? AND name = ? AND value = ? AND create_time = ? AND uid = ?",
            [(session.tenant, name, value, session.create_time, session.uid) for name, value in session.labels.items()],
        )

    # -- its history --------------------------------------------------------------------------------------------------

    def _append(self, cached: CachedSession, messages: Sequence[Message], bodies: Sequence[bytes]) -> None:
        """Add messages to the end of a history."""
        first, _ = own_messages(cached.key)
        rows = [(first + message.index, body) for message, body in zip(messages, bodies, strict=True)]
        # A message that was removed may still have its row.
        self._connection.executemany("INSERT OR REPLACE INTO messages (key, body) VALUES (?, ?)", rows)
        if cached.wanted:
            cached.tail = (*cached.tail, *messages)[-cached.wanted :]
            cached.tail_sizes = (*cached.tail_sizes, *map(len, bodies))[-cached.wanted :]

    def tail(self, cached: CachedSession, length: int, size: int) -> tuple[Message, ...]:
        """The last messages of a history: ``length`` of them, or fewer if they have more than ``size`` bytes."""
        count = cached.session.message_count
        enough = length <= cached.wanted and size <= cached.wanted_bytes
        cached.wanted = max(cached.wanted, length)
        cached.wanted_bytes = max(cached.wanted_bytes, size)
        length = min(length, count)
        if len(cached.tail) < length and not (cached.tail and enough):
            start = count - length
            segments = self._queries.segments(cached.key) if start < cached.shared else ()
            bodies = self._last_bodies(history(cached.key, segments, start, count), size)
            cached.tail = messages_of(bodies)
            cached.tail_sizes = tuple(map(len, bodies))
        return cached.tail[-length:] if length else ()

    def _last_bodies(self, ranges: Sequence[Range], room: int) -> Sequence[bytes]:
        """The last rows of the ranges, in order: as many as there is room for, but at least one."""
        bodies: list[bytes] = []
        for keys in reversed(ranges):
            rows = self._execute("SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key DESC", keys)
            for (body,) in rows:
                room -= len(body)
                if room < 0 and bodies:
                    rows.close()
                    return bodies[::-1]
                bodies.append(body)
        return bodies[::-1]

    def rewind(self, cached: CachedSession, count: int) -> None:
        """Remove the messages from the index ``count`` on. Forks keep those that they share."""
        key, first = cached.key, max(count, cached.shared)
        size = cached.bytes - self._size(key, cached.session.message_count, start=first)
        self._hand_over(key, first)
        if count < cached.shared:
            size -= self._cut(cached, count)
        cached.bytes = size
        # Read again when it is needed.
        cached.tail, cached.tail_sizes, cached.wanted, cached.wanted_bytes = (), (), 0, 0
        self._execute("UPDATE sessions SET bytes = ?, shared = ? WHERE key = ?", (size, cached.shared, key))
        self._execute("INSERT OR IGNORE INTO rewound (session) VALUES (?)", (key,))

    def _hand_over(self, key: int, first: int) -> None:
        """Move the messages from the index ``first`` on that forks share to a key of their own, as if a deleted session
        had written them."""
        forks = self._execute(
            "SELECT session, stop, coalesce((SELECT max(b.stop) FROM segments b WHERE b.session = a.session"
            " AND b.stop < a.stop), 0) FROM segments a WHERE writer = ? AND stop > ?",
            (key, first),
        ).fetchall()
        if not forks:
            return
        self._last_key = new = self._last_key + 1
        (own, _), (moved, _) = own_messages(key), own_messages(new)
        last = max([stop for _, stop, _ in forks])
        self._execute(
            "UPDATE messages SET key = key + ? WHERE key >= ? AND key < ?", (moved - own, own + first, own + last)
        )
        for fork, stop, start in forks:
            self._execute("UPDATE segments SET writer = ? WHERE session = ? AND stop = ?", (new, fork, stop))
            if start < first:
                self._execute("INSERT INTO segments (session, stop, writer) VALUES (?, ?, ?)", (fork, first, key))
        self._execute("INSERT INTO removed (session) VALUES (?)", (new,))
        self._charge_heir(new)

    def _cut(self, cached: CachedSession, count: int) -> int:
        """Share only the first ``count`` messages; return by how many bytes fewer count for the session."""
        key, segments = cached.key, self._queries.segments(cached.key)
        charged = {writer: self._size(writer, stop) for writer, stop in segments if self._heir(writer) == (key, stop)}
        self._mark_writers(key)
        self._execute("DELETE FROM segments WHERE session = ?", (key,))
        self._connection.executemany(
            "INSERT INTO segments (session, stop, writer) VALUES (?, ?, ?)",
            [(key, stop, writer) for writer, stop in first_segments(segments, count)],
        )
        cached.shared = count
        freed = 0
        for writer, size in charged.items():
            freed += size
            heir = self._heir(writer)
            if heir is not None and heir[0] == key:
                freed -= self._size(writer, heir[1])
            elif heir is not None:
                self._charge(heir[0], self._size(writer, heir[1]))
        return freed

    # -- forks --------------------------------------------------------------------------------------------------------

    def source(self, tenant: str, uid: str) -> Source | None:
        """The session with that uid, as the source of a fork."""
        row: Source | None = self._execute(
            "SELECT key, shared, message_count FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)
        ).fetchone()
        return row

    def shared(self, source: Source, count: int) -> Sequence[Segment]:
        """The first ``count`` messages of the source, as the segments of a fork."""
        key, shared, _ = source
        return first_segments([*(self._queries.segments(key) if shared else ()), (key, count)], count)
