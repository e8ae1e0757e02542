"""What is read from and written to the tables, as values, on the thread that holds the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Change, Changed, SessionQuery
from mcp_server.messages import Claim, ContextEntry, MCPSession, Message, Struct, Turn, TurnState
from mcp_server.stores.consistency import check
from mcp_server.stores.sqlite.recent import Known, RecentSessions

T = TypeVar("T")

DAMAGED: Final = "the file of the store is damaged: its operator has to put back a copy of it"

_INDEX_BITS: Final = 32
_MAX_MESSAGES: Final = 1 << _INDEX_BITS
_UNFINISHED: Final = frozenset((TurnState.QUEUED, TurnState.RUNNING))
MAX_TAIL_BYTES: Final = 32 * 1024 * 1024
"""The most that is read of a history for one turn. No model reads as much, and more would fill the memory."""
_PIECE_BYTES: Final = 1024 * 1024
_PIECE_ROWS: Final = 500
"""How much of a removed session is cleared away at once: some milliseconds of work."""
_COUNTED_LABELS: Final = 1000
"""How far the sessions of a label are counted to find the rarest one."""

_SESSION: Final = """
    s.key, s.tenant, s.id, s.uid, s.create_time, s.update_time, s.etag, s.expire_time, s.message_count, s.fence,
    s.claim_turn, s.claim_owner, s.claim_fence, s.claim_expire_time, c.summary"""


class _Summary(Struct):
    """What rarely changes and lists show."""

    ttl: int | None = None
    labels: Mapping[str, str] = {}
    system_instruction: str = ""
    default_model: str = ""
    parent: str = ""


class _Content(Struct):
    """What rarely changes and lists leave out."""

    metadata: Mapping[str, Any] = {}
    context: Mapping[str, ContextEntry] = {}


def _decoder(type_: type[T]) -> Callable[[bytes], T]:
    decode = msgspec.msgpack.Decoder(type_).decode

    def decoded(data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(DAMAGED) from error

    return decoded


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_summary: Final = _decoder(_Summary)
_decode_content: Final = _decoder(_Content)
_decode_messages: Final = _decoder(tuple[Message, ...])
_decode_turn: Final = _decoder(Turn)


class Tables:
    """Reads. Each is one snapshot of the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute

    def session(self, tenant: str, session: str) -> MCPSession | None:
        """The session with that id."""
        row = self._row(tenant, session)
        return None if row is None else _session(row, row[15])

    def _row(self, tenant: str, session: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(
            f"SELECT {_SESSION}, c.content FROM sessions s JOIN contents c ON c.key = s.key"
            " WHERE s.tenant = ? AND s.id = ?",
            (tenant, session),
        ).fetchone()
        return row

    def sessions(self, query: SessionQuery) -> Sequence[MCPSession]:
        """A page of sessions."""
        labels = self._rarest_first(query.tenant, query.labels)
        if labels:
            # The first label leads: its rows lie in the order of the list.
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
            f"SELECT {_SESSION} FROM {tables} CROSS JOIN contents c ON c.key = s.key"
            f" WHERE {' AND '.join(conditions)} AND (s.end_time IS NULL OR s.end_time > ?)"
            f" ORDER BY {lead}.create_time {order}, {lead}.uid {order} LIMIT ?",
            [*values, query.now, query.limit],
        )
        return [_session(row, _EMPTY) for row in rows]

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
        """A range of a history."""
        row = self._execute("SELECT key FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)).fetchone()
        return () if row is None else _messages(self._bodies(row[0], start, stop))

    def _bodies(self, key: int, start: int, stop: int) -> Sequence[bytes]:
        first = key << _INDEX_BITS
        rows = self._execute(
            "SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key",
            (first + max(start, 0), first + min(max(stop, 0), _MAX_MESSAGES)),
        )
        return [row[0] for row in rows]

    def turn(self, tenant: str, turn: str) -> Turn | None:
        """The turn with that id, unless its session is gone."""
        row = self._execute(
            "SELECT body FROM turns t WHERE tenant = ? AND id = ?"
            " AND (session IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.key = t.session))",
            (tenant, turn),
        ).fetchone()
        return None if row is None else _decode_turn(row[0])

    def expired(self, now: int, limit: int) -> Sequence[tuple[str, str]]:
        """Sessions whose time has passed."""
        return self._execute(
            "SELECT tenant, id FROM sessions WHERE end_time <= ? ORDER BY end_time LIMIT ?", (now, limit)
        ).fetchall()

    def interrupted(self, owner: str, limit: int) -> Sequence[Turn]:
        """Turns that another process left behind."""
        rows = self._execute(
            "SELECT body FROM turns t WHERE owner IS NOT NULL AND owner != ?"
            " AND (session IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.key = t.session)) LIMIT ?",
            (owner, limit),
        )
        return [_decode_turn(row[0]) for row in rows]

    def counts(self, now: int) -> Mapping[str, int]:
        """How many sessions there are."""
        row = self._execute(
            "SELECT (SELECT count(*) FROM sessions) - (SELECT count(*) FROM sessions WHERE end_time <= ?)", (now,)
        ).fetchone()
        return {"sessions": row[0]}


class WritableTables(Tables):
    """Reads and writes, for the one connection that may write."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        row = self._execute(
            "SELECT max(coalesce((SELECT max(key) FROM sessions), 0), coalesce((SELECT max(session) FROM removed), 0))"
        ).fetchone()
        self._last_key: int = row[0]
        self._recent = RecentSessions()
        self._data_version = 0
        self.littered = True
        """Whether anything may be left to clear away."""

    def change(self, tenant: str, session: str, decide: Callable[[MCPSession | None], Change]) -> Changed:
        """Read, decide and write."""
        known = self._recent.take(tenant, session) or self._known(tenant, session)
        old = None if known is None else known.session
        try:
            change = decide(old)
            check(tenant, session, old, change)
        except BaseException:
            if known is not None:
                self._recent.put(known)
            raise
        read = self._tail(known, change.read_last) if known is not None and change.read_last else ()
        new = change.session
        if known is not None and (change.delete or (new is not None and new.uid != known.session.uid)):
            self._remove(known)
            known = None
        if new is not None:
            if known is None:
                known = self._insert(new)
            else:
                self._update(known, new)
            if change.append:
                self._append(known, change.append)
        if change.turn is not None:
            self._put_turn(change.turn, known)
        if known is not None:
            self._recent.put(known)
        return Changed(change=change, messages=read)

    def _known(self, tenant: str, session: str) -> Known | None:
        row = self._row(tenant, session) if session else None
        return None if row is None else Known(row[0], _session(row, row[15]), len(row[14]) + len(row[15]))

    def _tail(self, known: Known, length: int) -> tuple[Message, ...]:
        """The last messages of a history."""
        count = known.session.message_count
        known.wanted = max(known.wanted, length)
        length = min(length, count)
        if len(known.tail) < length:
            bodies = self._last_bodies(known.key, count - length, count)
            known.tail = _messages(bodies)
            known.tail_sizes = tuple(map(len, bodies))
        return known.tail[-length:] if length else ()

    def _last_bodies(self, key: int, start: int, stop: int) -> Sequence[bytes]:
        """As many from the end of a range as MAX_TAIL_BYTES allows, and one in any case; in order."""
        first = key << _INDEX_BITS
        rows = self._execute(
            "SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key DESC", (first + start, first + stop)
        )
        bodies: list[bytes] = []
        room = MAX_TAIL_BYTES
        for (body,) in rows:
            room -= len(body)
            if room < 0 and bodies:
                break
            bodies.append(body)
        rows.close()
        return bodies[::-1]

    def _append(self, known: Known, messages: Sequence[Message]) -> None:
        first = known.key << _INDEX_BITS
        rows = [(first + message.index, _encode(message)) for message in messages]
        self.connection.executemany("INSERT INTO messages VALUES (?, ?)", rows)
        if known.wanted:
            known.tail = (*known.tail, *messages)[-known.wanted :]
            known.tail_sizes = (*known.tail_sizes, *[len(body) for _, body in rows])[-known.wanted :]

    def _insert(self, session: MCPSession) -> Known:
        self._last_key = key = self._last_key + 1
        self._execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, session.tenant, session.id, session.uid, session.create_time, *_hot(session)),
        )
        summary, content = _summary(session), _content(session)
        self._execute("INSERT INTO contents VALUES (?, ?, ?)", (key, summary, content))
        if session.labels:
            self._add_labels(key, session)
        return Known(key, session, len(summary) + len(content))

    def _update(self, known: Known, new: MCPSession) -> None:
        key, old = known.key, known.session
        self._execute(
            "UPDATE sessions SET"
            " update_time = ?, etag = ?, expire_time = ?, end_time = ?, message_count = ?, fence = ?,"
            " claim_turn = ?, claim_owner = ?, claim_fence = ?, claim_expire_time = ? WHERE key = ?",
            (*_hot(new), key),
        )
        # A turn hands back the very objects that it was given: nothing is compared, let alone written.
        if (
            new.labels is not old.labels
            or new.ttl != old.ttl
            or new.system_instruction is not old.system_instruction
            or new.default_model is not old.default_model
            or new.parent is not old.parent
        ):
            summary = _summary(new)
            known.size += len(summary)
            self._execute("UPDATE contents SET summary = ? WHERE key = ?", (summary, key))
            if new.labels != old.labels:
                self._remove_labels(old)
                self._add_labels(key, new)
        if new.context is not old.context or new.metadata is not old.metadata:
            content = _content(new)
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
        self.littered = True

    def _put_turn(self, turn: Turn, known: Known | None) -> None:
        session = None
        if turn.session_uid:
            assert known is not None
            session = known.key
        owner = turn.owner if turn.state in _UNFINISHED else None
        self._execute(
            "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO UPDATE SET"
            " session = excluded.session, owner = excluded.owner, end_time = excluded.end_time, body = excluded.body",
            (turn.tenant, turn.id, session, owner, turn.end_time, _encode(turn)),
        )

    def forget_turns(self, before: int, limit: int) -> int:
        """Remove turns that ended long ago."""
        self.littered = True
        return self._execute(
            "DELETE FROM turns WHERE rowid IN (SELECT rowid FROM turns WHERE end_time < ? ORDER BY end_time LIMIT ?)",
            (before, limit),
        ).rowcount

    def begin(self) -> None:
        """Begin a transaction."""
        self._execute("BEGIN IMMEDIATE")
        # What is remembered holds unless another program has written meanwhile.
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._recent.clear()

    def commit(self) -> None:
        """Make what was written last."""
        self._execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written since :meth:`begin`."""
        if self.connection.in_transaction:  # SQLite may have done it already
            self._execute("ROLLBACK")
        self._recent.clear()
        self.littered = False

    def clear(self) -> None:
        """Clear away one piece of what removed sessions left behind."""
        row = self._execute("SELECT session FROM removed LIMIT 1").fetchone()
        if row is None:
            self.littered = False
            return
        key = row[0]
        first, size = key << _INDEX_BITS, 0
        rows = self._execute(
            "SELECT key, length(body) FROM messages WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (first, first + _MAX_MESSAGES, _PIECE_ROWS),
        ).fetchall()
        for last, length in rows:
            size += length
            if size >= _PIECE_BYTES or last == rows[-1][0]:
                self._execute("DELETE FROM messages WHERE key >= ? AND key <= ?", (first, last))
                return
        turns = self._execute(
            "DELETE FROM turns WHERE rowid IN (SELECT rowid FROM turns WHERE session = ? LIMIT ?)", (key, _PIECE_ROWS)
        ).rowcount
        if turns < _PIECE_ROWS:
            self._execute("DELETE FROM removed WHERE session = ?", (key,))


_EMPTY: Final = _encode(_Content())


def _session(row: tuple[Any, ...], encoded_content: bytes) -> MCPSession:
    summary = _decode_summary(row[14])
    content = _decode_content(encoded_content)
    return MCPSession(
        tenant=row[1],
        id=row[2],
        uid=row[3],
        create_time=row[4],
        update_time=row[5],
        etag=row[6],
        expire_time=row[7],
        message_count=row[8],
        fence=row[9],
        claim=None if row[10] is None else Claim(turn=row[10], owner=row[11], fence=row[12], expire_time=row[13]),
        ttl=summary.ttl,
        labels=summary.labels,
        system_instruction=summary.system_instruction,
        default_model=summary.default_model,
        parent=summary.parent,
        metadata=content.metadata,
        context=content.context,
    )


def _hot(session: MCPSession) -> tuple[Any, ...]:
    """The columns that a turn changes."""
    end = session.expire_time
    claim = session.claim
    claimed: tuple[Any, ...] = (None, None, None, None)
    if claim is not None:
        claimed = (claim.turn, claim.owner, claim.fence, claim.expire_time)
        # A session does not expire under a turn that runs.
        end = None if end is None else max(end, claim.expire_time)
    return (
        session.update_time,
        session.etag,
        session.expire_time,
        end,
        session.message_count,
        session.fence,
        *claimed,
    )


def _summary(session: MCPSession) -> bytes:
    return _encode(
        _Summary(
            ttl=session.ttl,
            labels=session.labels,
            system_instruction=session.system_instruction,
            default_model=session.default_model,
            parent=session.parent,
        )
    )


def _content(session: MCPSession) -> bytes:
    return _encode(_Content(metadata=session.metadata, context=session.context))


def _messages(bodies: Sequence[bytes]) -> tuple[Message, ...]:
    # One array of all of them is decoded faster than each alone: msgpack announces it by this byte and its length.
    return _decode_messages(b"\xdd" + len(bodies).to_bytes(4) + b"".join(bodies)) if bodies else ()
