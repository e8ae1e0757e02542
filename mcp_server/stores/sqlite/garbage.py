"""The garbage collector: deletes what deleted and rewound sessions have left, a little at a time."""

from __future__ import annotations

import sqlite3
from typing import Final

from mcp_server.stores.sqlite.rows import own_messages
from mcp_server.stores.sqlite.turns import TurnRows

# The size of one step: some milliseconds of work.
_STEP_BYTES: Final = 1024 * 1024
_STEP_MESSAGES: Final = 500
_STEP_TURNS: Final = 100
_STEP_PAGES: Final = 256
_KEPT_PAGES: Final = 4096
"""How many pages may be free, for what is written next: 16 MiB."""


class GarbageCollector:
    """Deletes what the sessions in the tables ``removed`` and ``rewound`` have left."""

    def __init__(self, connection: sqlite3.Connection, turns: TurnRows) -> None:
        self._execute = connection.execute
        self._turns = turns

    def step(self) -> bool:
        """Delete one portion, within a transaction, and return whether there may be more."""
        row = self._execute("SELECT session FROM removed LIMIT 1").fetchone()
        if row is None:
            return self._step_of_rewound() or self._shrink()
        key: int = row[0]
        if not self._delete_messages(key) and not self._delete_turns(key):
            self._execute("DELETE FROM removed WHERE session = ?", (key,))
        return True

    def _step_of_rewound(self) -> bool:
        """Delete a portion of the messages that follow the last one of a session, and return whether there may be
        more."""
        row = self._execute(
            "SELECT session, message_count FROM rewound LEFT JOIN sessions ON key = session LIMIT 1"
        ).fetchone()
        if row is None:
            return False
        key, count = row
        # A session that was deleted since is in ``removed``.
        if count is None or not self._delete_messages(key, after=count):
            self._execute("DELETE FROM rewound WHERE session = ?", (key,))
        return True

    def _shrink(self) -> bool:
        """Give some free pages back to the file system if a large part of the file is free."""
        (free,) = self._execute("PRAGMA freelist_count").fetchone()
        (pages,) = self._execute("PRAGMA page_count").fetchone()
        if free < _KEPT_PAGES or free < pages // 4:
            return False
        self._execute(f"PRAGMA incremental_vacuum({_STEP_PAGES})").fetchall()
        (left,) = self._execute("PRAGMA freelist_count").fetchone()
        return bool(left < free)  # files of earlier releases cannot shrink by themselves

    def _delete_messages(self, session: int, *, after: int = 0) -> bool:
        first, last = own_messages(session)
        # A fork may still share the first ones.
        row = self._execute("SELECT max(stop) FROM segments WHERE writer = ?", (session,)).fetchone()
        first += max(row[0] or 0, after)
        size = 0
        rows = self._execute(
            "SELECT key, length(body) FROM messages WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (first, last, _STEP_MESSAGES),
        ).fetchall()
        for end, length in rows:
            size += length
            if size >= _STEP_BYTES or end == rows[-1][0]:
                self._execute("DELETE FROM messages WHERE key >= ? AND key <= ?", (first, end))
                return True
        return False

    def _delete_turns(self, session: int) -> bool:
        rows = self._execute("SELECT key FROM turns WHERE session = ? LIMIT ?", (session, _STEP_TURNS))
        keys = [key for (key,) in rows]
        if keys:
            self._turns.delete(keys)
        return bool(keys)
