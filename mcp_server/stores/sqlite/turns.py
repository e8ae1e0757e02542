"""Writes the rows of turns and of their logs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from mcp_server.stores.consistency import request_taken, turn_moved
from mcp_server.stores.sqlite.cache import CachedTurn, TurnCache, TurnIndex
from mcp_server.stores.sqlite.queries import SESSION_LIVES
from mcp_server.stores.sqlite.rows import encode, pieces
from mcp_server.values import UNFINISHED, Turn


class TurnRows:
    """Writes to the tables of turns, within a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._cache = TurnCache()

    def put(self, turn: Turn, events: bytes, session: int | None) -> None:
        """Create or replace a turn of the session with that key, and add a piece to its log."""
        owner: str | None = None
        if turn.state in UNFINISHED:
            owner = "" if turn.lease is None else turn.lease.owner
        index = session, turn.request_id or None
        columns = owner, turn.retained_since, encode(turn)
        cached = self._cache.pop(turn)
        if cached is None or cached.index != index:
            cached = self._insert(turn, index, columns)
        else:
            self._update(cached.key, columns)
        if events:
            self._execute("INSERT INTO events (key, body) VALUES (?, ?)", (cached.next_piece, events))
            cached.next_piece += 1
        if owner is not None:
            self._cache.put(turn, cached)

    def _insert(self, turn: Turn, index: TurnIndex, columns: tuple[Any, ...]) -> CachedTurn:
        """Write a turn that is not in the cache: most often a new one."""
        session, request_id = index
        service = None if request_id is None else turn.service
        try:
            cursor = self._execute(
                "INSERT INTO turns (tenant, id, session, service, request_id, owner, end_time, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING",
                (turn.tenant, turn.id, session, service, request_id, *columns),
            )
        except sqlite3.IntegrityError as error:
            raise request_taken(turn) from error
        if cursor.rowcount == 0:
            return self._replace(turn, index, columns)
        key = cursor.lastrowid
        assert key is not None
        return CachedTurn(key, index, pieces(key)[0])

    def _replace(self, turn: Turn, index: TurnIndex, columns: tuple[Any, ...]) -> CachedTurn:
        """Write a turn that is stored but not in the cache."""
        key, session, request_id, lives = self._execute(
            f"SELECT key, session, request_id, {SESSION_LIVES} FROM turns t WHERE tenant = ? AND id = ?",
            (turn.tenant, turn.id),
        ).fetchone()
        if not lives:
            self.delete([key])
            return self._insert(turn, index, columns)
        if (session, request_id) != index:
            raise turn_moved(turn)
        self._update(key, columns)
        first, last = pieces(key)
        next_piece: int = self._execute(
            "SELECT coalesce(max(key) + 1, ?) FROM events WHERE key >= ? AND key < ?", (first, first, last)
        ).fetchone()[0]
        return CachedTurn(key, index, next_piece)

    def _update(self, key: int, columns: tuple[Any, ...]) -> None:
        self._execute("UPDATE turns SET owner = ?, end_time = ?, body = ? WHERE key = ?", (*columns, key))

    def delete(self, keys: Sequence[int]) -> None:
        """Delete the turns with these keys, and their logs."""
        self._connection.executemany("DELETE FROM events WHERE key >= ? AND key < ?", map(pieces, keys))
        self._connection.executemany("DELETE FROM turns WHERE key = ?", [(key,) for key in keys])
        self._cache.clear()

    def forget(self, before: int, limit: int) -> int:
        """Delete up to ``limit`` turns whose retention period began before that time, and count them."""
        rows = self._execute("SELECT key FROM turns WHERE end_time < ? ORDER BY end_time LIMIT ?", (before, limit))
        keys = [key for (key,) in rows]
        if keys:
            self.delete(keys)
        return len(keys)

    def clear_cache(self) -> None:
        """Forget which rows were written: another program or a rollback has changed the file."""
        self._cache.clear()
