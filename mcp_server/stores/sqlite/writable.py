"""What is written to the tables, on the one thread that may."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from mcp_server.interfaces import NO_LOOK_UP, Change, Changed, Decide, LookUp, RequestKey, Stored
from mcp_server.stores.consistency import check, request_taken, turn_moved
from mcp_server.stores.sqlite.recent import Known, Place, RecentSessions, RecentTurns, WrittenTurn
from mcp_server.stores.sqlite.rows import (
    Range,
    Segment,
    content_of,
    encode,
    history,
    hot_columns,
    messages_of,
    own_messages,
    pieces,
    receipt_of,
    session_of,
    summary_of,
    turn_of,
)
from mcp_server.stores.sqlite.tables import SESSION_LIVES, Tables
from mcp_server.values import (
    MCPSession,
    Message,
    Receipt,
    Turn,
    TurnState,
)

_UNFINISHED: Final = frozenset((TurnState.QUEUED, TurnState.RUNNING))
MAX_TAIL_BYTES: Final = 32 * 1024 * 1024
"""The most that is read of a history for one turn. No model reads as much, and more would fill the memory."""
_PIECE_BYTES: Final = 1024 * 1024
_PIECE_MESSAGES: Final = 500
_PIECE_TURNS: Final = 100
"""How much of a removed session is cleared away at once: some milliseconds of work."""


class WritableTables(Tables):
    """Reads and writes, for the one connection that may write."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        # What forks share of a session that is gone lies under a key that is less than theirs.
        row = self._execute(
            "SELECT max(coalesce((SELECT max(key) FROM sessions), 0), coalesce((SELECT max(session) FROM removed), 0))"
        ).fetchone()
        self._last_key: int = row[0]
        self._sessions = RecentSessions()
        self._turns = RecentTurns()
        self._data_version = 0
        self.littered = True
        """Whether anything may be left to clear away."""

    def change(self, tenant: str, session: str, decide: Decide, look_up: LookUp) -> Changed:
        """Read, decide and write."""
        known = self._sessions.take(tenant, session) or self._known(tenant, session)
        old = None if known is None else known.session
        try:
            stored = Stored(session=old) if look_up is NO_LOOK_UP else self._stored(tenant, known, look_up)
            change = decide(stored)
            source = self._source(tenant, change.fork_of) if change.fork_of else None
            check(tenant, session, old, change, forked=None if source is None else source[2])
        except BaseException:
            if known is not None:
                self._sessions.put(known)
            raise
        read = self._tail(known, change.read_last) if known is not None and change.read_last else ()
        new = change.session
        shared = self._shared(source, change) if source is not None else ()
        if known is not None and (change.delete or (new is not None and new.uid != known.session.uid)):
            self._remove(known)
            known = None
        if new is not None:
            if known is None:
                known = self._insert(new, shared)
            else:
                self._update(known, new)
            if change.append:
                self._append(known, change.append)
        if change.turn is not None:
            self._put_turn(change.turn, change.events, known)
        if change.receipt is not None:
            self._put_receipt(change.receipt)
        if known is not None:
            self._sessions.put(known)
        return Changed(change=change, stored=stored, messages=read)

    def _stored(self, tenant: str, known: Known | None, look_up: LookUp) -> Stored:
        session = None if known is None else known.session
        turn = self.turn(tenant, look_up.turn) if look_up.turn else None
        if look_up.request is not None:
            turn = self._turn_of_request(tenant, known, look_up.request)
        receipt = None if look_up.receipt is None else self._receipt(tenant, session, look_up.receipt)
        other = self.session(tenant, look_up.other) if look_up.other else None
        return Stored(session=session, turn=turn, receipt=receipt, other=other)

    def _turn_of_request(self, tenant: str, known: Known | None, request: RequestKey) -> Turn | None:
        session = 0
        if request.in_session:
            if known is None:
                return None
            session = known.key
        row = self._execute(
            "SELECT body FROM turns WHERE tenant = ? AND coalesce(session, 0) = ? AND service = ? AND request_id = ?",
            (tenant, session, request.service, request.request_id),
        ).fetchone()
        return None if row is None else turn_of(row[0])

    def _receipt(self, tenant: str, session: MCPSession | None, request: RequestKey) -> Receipt | None:
        scope = ""
        if request.in_session:
            if session is None:
                return None
            scope = session.uid
        row = self._execute(
            "SELECT body FROM receipts WHERE tenant = ? AND scope = ? AND service = ? AND request_id = ?",
            (tenant, scope, request.service, request.request_id),
        ).fetchone()
        return None if row is None else receipt_of(row[0])

    def _source(self, tenant: str, uid: str) -> tuple[int, int, int] | None:
        """Of a session that is to be forked: its key, how many messages it shares itself, and how many it has."""
        row: tuple[int, int, int] | None = self._execute(
            "SELECT key, shared, message_count FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)
        ).fetchone()
        return row

    def _shared(self, source: tuple[int, int, int], change: Change) -> Sequence[Segment]:
        """What a fork begins with."""
        assert change.session is not None
        key, shared, _ = source
        count = change.session.message_count - len(change.append)
        segments: list[Segment] = []
        start = 0
        for writer, stop in (*(self._segments(key) if shared else ()), (key, count)):
            stop = min(stop, count)
            if start < stop:
                segments.append((writer, stop))
                start = stop
        return segments

    def _known(self, tenant: str, session: str) -> Known | None:
        row = self._row(tenant, session) if session else None
        if row is None:
            return None
        return Known(row[0], session_of(row, row[15]), len(row[14]) + len(row[15]), row[16])

    def _tail(self, known: Known, length: int) -> tuple[Message, ...]:
        """The last messages of a history."""
        count = known.session.message_count
        known.wanted = max(known.wanted, length)
        length = min(length, count)
        if len(known.tail) < length:
            start = count - length
            segments = self._segments(known.key) if start < known.shared else ()
            bodies = self._last_bodies(history(known.key, segments, start, count))
            known.tail = messages_of(bodies)
            known.tail_sizes = tuple(map(len, bodies))
        return known.tail[-length:] if length else ()

    def _last_bodies(self, ranges: Sequence[Range]) -> Sequence[bytes]:
        """As many from the end of the ranges as MAX_TAIL_BYTES allows, and one in any case; in order."""
        bodies: list[bytes] = []
        room = MAX_TAIL_BYTES
        for keys in reversed(ranges):
            rows = self._execute("SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key DESC", keys)
            for (body,) in rows:
                room -= len(body)
                if room < 0 and bodies:
                    rows.close()
                    return bodies[::-1]
                bodies.append(body)
        return bodies[::-1]

    def _append(self, known: Known, messages: Sequence[Message]) -> None:
        first, _ = own_messages(known.key)
        rows = [(first + message.index, encode(message)) for message in messages]
        self.connection.executemany("INSERT INTO messages VALUES (?, ?)", rows)
        if known.wanted:
            known.tail = (*known.tail, *messages)[-known.wanted :]
            known.tail_sizes = (*known.tail_sizes, *[len(body) for _, body in rows])[-known.wanted :]

    def _insert(self, session: MCPSession, shared: Sequence[Segment]) -> Known:
        self._last_key = key = self._last_key + 1
        count = shared[-1][1] if shared else 0
        self._execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, session.tenant, session.id, session.uid, session.create_time, *hot_columns(session), count),
        )
        self.connection.executemany(
            "INSERT INTO segments VALUES (?, ?, ?)", [(key, stop, writer) for writer, stop in shared]
        )
        summary, content = summary_of(session), content_of(session)
        self._execute("INSERT INTO contents VALUES (?, ?, ?)", (key, summary, content))
        if session.labels:
            self._add_labels(key, session)
        return Known(key, session, len(summary) + len(content), count)

    def _update(self, known: Known, new: MCPSession) -> None:
        key, old = known.key, known.session
        self._execute(
            "UPDATE sessions SET"
            " update_time = ?, etag = ?, expire_time = ?, end_time = ?, message_count = ?, fence = ?,"
            " claim_turn = ?, claim_owner = ?, claim_fence = ?, claim_expire_time = ? WHERE key = ?",
            (*hot_columns(new), key),
        )
        # A turn hands back the very objects that it was given: nothing is compared, let alone written.
        if (
            new.labels is not old.labels
            or new.ttl != old.ttl
            or new.system_instruction is not old.system_instruction
            or new.default_model is not old.default_model
            or new.parent is not old.parent
        ):
            summary = summary_of(new)
            known.size += len(summary)
            self._execute("UPDATE contents SET summary = ? WHERE key = ?", (summary, key))
            if new.labels != old.labels:
                self._remove_labels(old)
                self._add_labels(key, new)
        if new.context is not old.context or new.metadata is not old.metadata:
            content = content_of(new)
            known.size += len(content)
            self._execute("UPDATE contents SET content = ? WHERE key = ?", (content, key))
        known.session = new

    def _add_labels(self, key: int, session: MCPSession) -> None:
        self.connection.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session.tenant, name, value, session.create_time, session.uid, key)
                for name, value in session.labels.items()
            ],
        )

    def _remove_labels(self, session: MCPSession) -> None:
        self.connection.executemany(
            "DELETE FROM labels WHERE tenant = ? AND name = ? AND value = ? AND create_time = ? AND uid = ?",
            [(session.tenant, name, value, session.create_time, session.uid) for name, value in session.labels.items()],
        )

    def _remove(self, known: Known) -> None:
        """Remove the session; what may be much of it follows in pieces."""
        key = known.key
        self._remove_labels(known.session)
        self._execute("DELETE FROM contents WHERE key = ?", (key,))
        self._execute("DELETE FROM sessions WHERE key = ?", (key,))
        self._execute("INSERT INTO removed VALUES (?)", (key,))
        if known.shared:
            # Of the sessions that wrote its first messages, those that are gone may have kept them for this one alone.
            self._execute(
                "INSERT OR IGNORE INTO removed SELECT writer FROM segments g WHERE session = ?"
                " AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.key = g.writer)",
                (key,),
            )
            self._execute("DELETE FROM segments WHERE session = ?", (key,))
        self.littered = True

    def _put_turn(self, turn: Turn, events: bytes, known: Known | None) -> None:
        session = None
        if turn.session_uid:
            assert known is not None
            session = known.key
        owner = turn.owner if turn.state in _UNFINISHED else None
        place = session, turn.request_id or None
        columns = owner, turn.end_time, encode(turn)
        written = self._turns.take(turn)
        if written is None or written.place != place:
            written = self._insert_turn(turn, place, columns)
        else:
            self._update_turn(written.key, columns)
        if events:
            self._execute("INSERT INTO events VALUES (?, ?)", (written.next_piece, events))
            written.next_piece += 1
        if owner is not None:
            self._turns.put(turn, written)

    def _insert_turn(self, turn: Turn, place: Place, columns: tuple[Any, ...]) -> WrittenTurn:
        """Write a turn that is not known, which most often means that it is new."""
        session, request_id = place
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
            return self._replace_turn(turn, place, columns)
        key = cursor.lastrowid
        assert key is not None
        return WrittenTurn(key, place, pieces(key)[0])

    def _replace_turn(self, turn: Turn, place: Place, columns: tuple[Any, ...]) -> WrittenTurn:
        """Write a turn that is not known, but there."""
        key, session, request_id, lives = self._execute(
            f"SELECT key, session, request_id, {SESSION_LIVES} FROM turns t WHERE tenant = ? AND id = ?",
            (turn.tenant, turn.id),
        ).fetchone()
        if not lives:
            self._remove_turns([key])
            return self._insert_turn(turn, place, columns)
        if (session, request_id) != place:
            raise turn_moved(turn)
        self._update_turn(key, columns)
        first, last = pieces(key)
        next_piece: int = self._execute(
            "SELECT coalesce(max(key) + 1, ?) FROM events WHERE key >= ? AND key < ?", (first, first, last)
        ).fetchone()[0]
        return WrittenTurn(key, place, next_piece)

    def _update_turn(self, key: int, columns: tuple[Any, ...]) -> None:
        self._execute("UPDATE turns SET owner = ?, end_time = ?, body = ? WHERE key = ?", (*columns, key))

    def _remove_turns(self, keys: Sequence[int]) -> None:
        self.connection.executemany("DELETE FROM events WHERE key >= ? AND key < ?", map(pieces, keys))
        self.connection.executemany("DELETE FROM turns WHERE key = ?", [(key,) for key in keys])
        self._turns.clear()

    def _put_receipt(self, receipt: Receipt) -> None:
        key = receipt.tenant, receipt.scope, receipt.service, receipt.request_id
        try:
            self._execute(
                "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)", (*key, receipt.create_time, encode(receipt))
            )
        except sqlite3.IntegrityError as error:
            raise request_taken(receipt) from error

    def forget(self, before: int, limit: int) -> int:
        """Remove turns that ended, and receipts that were written, long ago."""
        turns = self._keys("SELECT key FROM turns WHERE end_time < ? ORDER BY end_time LIMIT ?", (before, limit))
        if turns:
            self._remove_turns(turns)
        receipts = self._execute(
            "DELETE FROM receipts WHERE (tenant, scope, service, request_id) IN (SELECT tenant, scope, service,"
            " request_id FROM receipts WHERE create_time < ? ORDER BY create_time LIMIT ?)",
            (before, limit),
        ).rowcount
        self.littered = True
        return len(turns) + receipts

    def _keys(self, statement: str, values: tuple[Any, ...]) -> Sequence[int]:
        return [key for (key,) in self._execute(statement, values)]

    def begin(self) -> None:
        """Begin a transaction."""
        self._execute("BEGIN IMMEDIATE")
        # What is remembered holds unless another program has written meanwhile.
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._sessions.clear()
            self._turns.clear()

    def commit(self) -> None:
        """Make what was written last."""
        self._execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written since :meth:`begin`."""
        if self.connection.in_transaction:  # SQLite may have done it already
            self._execute("ROLLBACK")
        self._sessions.clear()
        self._turns.clear()
        self.littered = False

    def clear(self) -> None:
        """Clear away one piece of what removed sessions left behind."""
        row = self._execute("SELECT session FROM removed LIMIT 1").fetchone()
        if row is None:
            self.littered = False
            return
        key = row[0]
        first, last = own_messages(key)
        # A fork may share the first ones.
        shared: int = self._execute("SELECT max(stop) FROM segments WHERE writer = ?", (key,)).fetchone()[0] or 0
        size = 0
        rows = self._execute(
            "SELECT key, length(body) FROM messages WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (first + shared, last, _PIECE_MESSAGES),
        ).fetchall()
        for end, length in rows:
            size += length
            if size >= _PIECE_BYTES or end == rows[-1][0]:
                self._execute("DELETE FROM messages WHERE key >= ? AND key <= ?", (first + shared, end))
                return
        turns = self._keys("SELECT key FROM turns WHERE session = ? LIMIT ?", (key, _PIECE_TURNS))
        if turns:
            self._remove_turns(turns)
        else:
            self._execute("DELETE FROM removed WHERE session = ?", (key,))
