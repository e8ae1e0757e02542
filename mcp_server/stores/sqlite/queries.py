"""Queries: what the tables hold, as values. They run on the thread that has the connection."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mcp_server.interfaces import SessionQuery, UsageQuery
from mcp_server.stores.sqlite.accounts import usage_sums
from mcp_server.stores.sqlite.rows import (
    NO_CONTENT,
    SESSION_COLUMNS,
    Segment,
    history,
    key_of,
    messages_of,
    pieces,
    session_of,
    turn_of,
)
from mcp_server.values import Key, MCPSession, Message, Turn, UsageSum

_COUNTED_LABELS: Final = 1000
"""How many sessions of a label are counted at most to find the rarest one."""

_AFTER_ALL_TEXT: Final = b""
"""SQLite orders every blob after every text."""

SESSION_LIVES: Final = "(session IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.key = t.session))"
"""The session of the turn ``t`` exists, or the turn has none."""


class Queries:
    """Reads, each from one snapshot of the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute

    def session(self, tenant: str, session: str) -> MCPSession | None:
        """The session with that id."""
        row = self._row(tenant, session)
        return None if row is None else session_of(row, row[13])

    def _row(self, tenant: str, session: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(
            f"SELECT {SESSION_COLUMNS}, c.content, s.shared, s.bytes FROM sessions s JOIN contents c ON c.key = s.key"
            " WHERE s.tenant = ? AND s.id = ?",
            (tenant, session),
        ).fetchone()
        return row

    def sessions(self, query: SessionQuery) -> Sequence[MCPSession]:
        """One page of a list."""
        labels = self._rarest_first(query.tenant, query.labels)
        if labels:
            # The rows of the first label are in the order of the list.
            lead, tables = "l", "labels l CROSS JOIN sessions s ON s.key = l.session"
            conditions = ["l.tenant = ? AND l.name = ? AND l.value = ?"]
        else:
            lead, tables = "s", "sessions s"
            conditions = ["s.tenant = ?"]
        other = (
            "EXISTS (SELECT 1 FROM labels x WHERE x.tenant = l.tenant AND x.name = ? AND x.value = ?"
            " AND x.create_time = l.create_time AND x.uid = l.uid)"
        )
        conditions += [other] * (len(labels) - 1)
        values: list[Any] = [query.tenant, *[text for label in labels for text in label]]
        comparison, order = ("<", "DESC") if query.newest_first else (">", "ASC")
        if query.after is not None:
            conditions.append(f"({lead}.create_time, {lead}.uid) {comparison} (?, ?)")
            values += query.after
        rows = self._execute(
            f"SELECT {SESSION_COLUMNS} FROM {tables} CROSS JOIN contents c ON c.key = s.key"
            f" WHERE {' AND '.join(conditions)} AND (s.end_time IS NULL OR s.end_time > ?)"
            f" ORDER BY {lead}.create_time {order}, {lead}.uid {order} LIMIT ?",
            [*values, query.now, query.limit],
        )
        return [session_of(row, NO_CONTENT) for row in rows]

    def _rarest_first(self, tenant: str, labels: Mapping[str, str]) -> Sequence[tuple[str, str]]:
        if len(labels) < 2:
            return list(labels.items())

        def count(label: tuple[str, str]) -> int:
            row = self._execute(
                "SELECT count(*) FROM (SELECT 1 FROM labels WHERE tenant = ? AND name = ? AND value = ? LIMIT ?)",
                (tenant, *label, _COUNTED_LABELS),
            ).fetchone()
            number: int = row[0]
            return number

        return sorted(labels.items(), key=count)

    def messages(self, tenant: str, uid: str, start: int, stop: int) -> Sequence[Message]:
        """A range of a session's history."""
        start, stop = max(start, 0), max(stop, 0)
        bodies: list[bytes] = []
        with self._snapshot():
            row = self._execute(
                "SELECT key, shared, message_count FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)
            ).fetchone()
            if row is None:
                return ()
            key, shared, count = row
            stop = min(stop, count)  # rows of messages that were removed may follow
            for keys in history(key, self.segments(key) if start < shared else (), start, stop):
                rows = self._execute("SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key", keys)
                bodies += [body for (body,) in rows]
        return messages_of(bodies)

    def segments(self, key: int) -> Sequence[Segment]:
        """The messages that a session shares with those that wrote them, in order."""
        return self._execute("SELECT writer, stop FROM segments WHERE session = ? ORDER BY stop", (key,)).fetchall()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Run several statements on one snapshot of the file."""
        if self.connection.in_transaction:
            yield
            return
        self._execute("BEGIN")
        try:
            yield
        finally:
            self._execute("COMMIT")

    def turn(self, tenant: str, turn: str) -> Turn | None:
        """The turn with that id, unless its session was deleted."""
        row = self._execute(
            f"SELECT body FROM turns t WHERE tenant = ? AND id = ? AND {SESSION_LIVES}", (tenant, turn)
        ).fetchone()
        return None if row is None else turn_of(row[0])

    def turns(self, tenant: str, uid: str, limit: int, before: str) -> Sequence[Turn]:
        """The turns of a session, greatest id first."""
        rows = self._execute(
            "SELECT t.body FROM sessions s CROSS JOIN turns t ON t.session = s.key"
            " WHERE s.tenant = ? AND s.uid = ? AND t.id < ? ORDER BY t.id DESC LIMIT ?",
            (tenant, uid, before or _AFTER_ALL_TEXT, limit),
        )
        return [turn_of(body) for (body,) in rows]

    def events(self, tenant: str, turn: str) -> Sequence[bytes]:
        """The pieces of a turn's log."""
        with self._snapshot():
            row = self._execute(
                f"SELECT key FROM turns t WHERE tenant = ? AND id = ? AND {SESSION_LIVES}", (tenant, turn)
            ).fetchone()
            if row is None:
                return ()
            rows = self._execute("SELECT body FROM events WHERE key >= ? AND key < ? ORDER BY key", pieces(row[0]))
            return [body for (body,) in rows]

    def expired(self, now: int, limit: int) -> Sequence[tuple[str, str]]:
        """Sessions that have expired, oldest first."""
        return self._execute(
            "SELECT tenant, id FROM sessions WHERE end_time <= ? ORDER BY end_time LIMIT ?", (now, limit)
        ).fetchall()

    def interrupted(self, owner: str, limit: int) -> Sequence[Turn]:
        """Unfinished turns whose lease another process has, or nobody."""
        rows = self._execute(
            f"SELECT body FROM turns t WHERE owner IS NOT NULL AND owner != ? AND {SESSION_LIVES} LIMIT ?",
            (owner, limit),
        )
        return [turn_of(row[0]) for row in rows]

    def counts(self, now: int) -> Mapping[str, int]:
        """The number of sessions."""
        row = self._execute(
            "SELECT (SELECT count(*) FROM sessions) - (SELECT count(*) FROM sessions WHERE end_time <= ?)", (now,)
        ).fetchone()
        return {"sessions": row[0]}

    # -- accounts -----------------------------------------------------------------------------------------------------

    def key(self, key: str) -> Key | None:
        """The API key with that id."""
        row = self._execute("SELECT body FROM api_keys WHERE id = ?", (key,)).fetchone()
        return None if row is None else key_of(row[0])

    def keys(self, tenant: str, limit: int, after: tuple[int, str] | None) -> Sequence[Key]:
        """The API keys of a tenant, oldest first."""
        rows = self._execute(
            "SELECT body FROM api_keys WHERE tenant = ? AND (create_time, id) > (?, ?)"
            " ORDER BY create_time, id LIMIT ?",
            (tenant, *(after or (-1, "")), limit),
        )
        return [key_of(body) for (body,) in rows]

    def usage(self, query: UsageQuery) -> Sequence[UsageSum]:
        """Sums of the usage ledger."""
        return usage_sums(self.connection, query)
