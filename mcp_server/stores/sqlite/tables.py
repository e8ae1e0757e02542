"""What is read from and written to the tables, as values, on the thread that holds the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, LookUp, SessionQuery, Stored
from mcp_server.messages import Claim, ContextEntry, MCPSession, Message, Receipt, Struct, Turn, TurnState
from mcp_server.stores.consistency import check
from mcp_server.stores.sqlite.recent import Known, RecentSessions

T = TypeVar("T")

DAMAGED: Final = "the file of the store is damaged: its operator has to put back a copy of it"

_INDEX_BITS: Final = 32
_MAX_MESSAGES: Final = 1 << _INDEX_BITS
_PIECE_BITS: Final = 20
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
_decode_receipt: Final = _decoder(Receipt)

Segment = tuple[int, int]
"""The key of a history, and the index before which its messages end."""


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
        key = self._key(tenant, uid)
        if key is None:
            return ()
        bodies: list[bytes] = []
        for first, last in _ranges(key, self._segments(key), max(start, 0), min(max(stop, 0), _MAX_MESSAGES)):
            rows = self._execute("SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key", (first, last))
            bodies += [row[0] for row in rows]
        return _messages(bodies)

    def _key(self, tenant: str, uid: str) -> int | None:
        row = self._execute("SELECT key FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)).fetchone()
        return None if row is None else row[0]

    def _segments(self, key: int) -> Sequence[Segment]:
        """What a session has of other histories, in order."""
        return self._execute("SELECT history, stop FROM segments WHERE session = ? ORDER BY stop", (key,)).fetchall()

    def turn(self, tenant: str, turn: str) -> Turn | None:
        """The turn with that id, unless its session is gone."""
        row = self._execute(
            "SELECT body FROM turns t WHERE tenant = ? AND id = ?"
            " AND (session IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.key = t.session))",
            (tenant, turn),
        ).fetchone()
        return None if row is None else _decode_turn(row[0])

    def turns(self, tenant: str, uid: str, limit: int, before: str) -> Sequence[Turn]:
        """Turns of a session, the greatest id first."""
        key = self._key(tenant, uid)
        # Every id is less than the empty blob: it compares so with all text.
        rows = self._execute(
            "SELECT body FROM turns WHERE session = ? AND id < ? ORDER BY id DESC LIMIT ?", (key, before or b"", limit)
        )
        return [_decode_turn(row[0]) for row in rows]

    def events(self, tenant: str, turn: str) -> Sequence[bytes]:
        """The pieces of the log of a turn."""
        row = self._execute(
            "SELECT key FROM turns t WHERE tenant = ? AND id = ?"
            " AND (session IS NULL OR EXISTS (SELECT 1 FROM sessions s WHERE s.key = t.session))",
            (tenant, turn),
        ).fetchone()
        if row is None:
            return ()
        rows = self._execute("SELECT body FROM events WHERE key >= ? AND key < ? ORDER BY key", _pieces(row[0]))
        return [row[0] for row in rows]

    def _turn_by_request(self, tenant: str, session: int, service: str, request_id: str) -> Turn | None:
        row = self._execute(
            "SELECT body FROM turns WHERE tenant = ? AND coalesce(session, 0) = ? AND service = ? AND request_id = ?",
            (tenant, session, service, request_id),
        ).fetchone()
        return None if row is None else _decode_turn(row[0])

    def _receipt(self, tenant: str, scope: str, service: str, request_id: str) -> Receipt | None:
        row = self._execute(
            "SELECT body FROM receipts WHERE tenant = ? AND scope = ? AND service = ? AND request_id = ?",
            (tenant, scope, service, request_id),
        ).fetchone()
        return None if row is None else _decode_receipt(row[0])

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
            "SELECT max(coalesce((SELECT max(key) FROM sessions), 0), coalesce((SELECT max(session) FROM removed), 0),"
            " coalesce((SELECT max(history) FROM segments), 0))"
        ).fetchone()
        self._last_key: int = row[0]
        self._recent = RecentSessions()
        self._data_version = 0
        self.littered = True
        """Whether anything may be left to clear away."""

    def change(self, tenant: str, session: str, decide: Decide, look_up: LookUp) -> Changed:
        """Read, decide and write."""
        known = self._recent.take(tenant, session) or self._known(tenant, session)
        old = None if known is None else known.session
        try:
            stored = Stored(session=old) if look_up is NO_LOOK_UP else self._stored(tenant, known, look_up)
            change = decide(stored)
            check(tenant, session, old, change, forked=self._message_count(tenant, change.fork_of))
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
                if change.fork_of:
                    self._share(change.fork_of, new.message_count - len(change.append), known)
            else:
                self._update(known, new)
            if change.append:
                self._append(known, change.append)
        if change.turn is not None:
            self._put_turn(change.turn, change.events, known)
        if change.receipt is not None:
            self._put_receipt(change.receipt)
        if known is not None:
            self._recent.put(known)
        return Changed(change=change, stored=stored, messages=read)

    def _message_count(self, tenant: str, uid: str) -> int | None:
        if not uid:
            return None
        row = self._execute("SELECT message_count FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)).fetchone()
        return None if row is None else row[0]

    def _stored(self, tenant: str, known: Known | None, look_up: LookUp) -> Stored:
        turn = self.turn(tenant, look_up.turn) if look_up.turn else None
        if request := look_up.request:
            key = known.key if request.in_session and known is not None else 0
            turn = self._turn_by_request(tenant, key, request.service, request.request_id)
        receipt = None
        if request := look_up.receipt:
            scope = known.session.uid if request.in_session and known is not None else ""
            receipt = self._receipt(tenant, scope, request.service, request.request_id)
        return Stored(
            session=None if known is None else known.session,
            turn=turn,
            receipt=receipt,
            other=self.session(tenant, look_up.other) if look_up.other else None,
        )

    def _known(self, tenant: str, session: str) -> Known | None:
        row = self._row(tenant, session) if session else None
        return None if row is None else Known(row[0], _session(row, row[15]), len(row[14]) + len(row[15]))

    def _tail(self, known: Known, length: int) -> tuple[Message, ...]:
        """The last messages of a history."""
        count = known.session.message_count
        known.wanted = max(known.wanted, length)
        length = min(length, count)
        if len(known.tail) < length:
            segments = self._segments(known.key) if known.session.parent else ()
            bodies = self._last_bodies(_ranges(known.key, segments, count - length, count))
            known.tail = _messages(bodies)
            known.tail_sizes = tuple(map(len, bodies))
        return known.tail[-length:] if length else ()

    def _last_bodies(self, ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
        """As many from the end of the ranges as MAX_TAIL_BYTES allows, and one in any case; in order."""
        bodies: list[bytes] = []
        room = MAX_TAIL_BYTES
        for first, last in reversed(ranges):
            rows = self._execute(
                "SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key DESC", (first, last)
            )
            for (body,) in rows:
                room -= len(body)
                if room < 0 and bodies:
                    rows.close()
                    return bodies[::-1]
                bodies.append(body)
        return bodies[::-1]

    def _share(self, uid: str, count: int, fork: Known) -> None:
        """Let a new session begin with messages of another."""
        parent = self._key(fork.session.tenant, uid)
        assert parent is not None
        segments: list[Segment] = []
        for history, stop in self._segments(parent):
            segments.append((history, min(stop, count)))
            if stop >= count:
                break
        else:
            segments.append((parent, count))
        self.connection.executemany(
            "INSERT INTO segments (session, history, stop) VALUES (?, ?, ?)",
            [(fork.key, history, stop) for history, stop in segments],
        )

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
        if known.session.parent:
            for history, _ in self._segments(key):
                # Nobody may need these messages any more whose own session went before.
                self._execute(
                    "INSERT OR IGNORE INTO removed SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE key = ?1)",
                    (history,),
                )
            self._execute("DELETE FROM segments WHERE session = ?", (key,))
        self.littered = True

    def _put_turn(self, turn: Turn, events: bytes, known: Known | None) -> None:
        session = None
        if turn.session_uid:
            assert known is not None
            session = known.key
        owner = turn.owner if turn.state in _UNFINISHED else None
        key: int = self._execute(
            "INSERT INTO turns (tenant, id, session, service, request_id, owner, end_time, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO UPDATE SET"
            " session = excluded.session, owner = excluded.owner, end_time = excluded.end_time, body = excluded.body"
            " RETURNING key",
            (
                turn.tenant,
                turn.id,
                session,
                turn.service,
                turn.request_id or None,
                owner,
                turn.end_time,
                _encode(turn),
            ),
        ).fetchone()[0]
        if events:
            first, last = _pieces(key)
            self._execute(
                "INSERT INTO events SELECT coalesce(max(key) + 1, ?), ? FROM events WHERE key >= ? AND key < ?",
                (first, events, first, last),
            )

    def _put_receipt(self, receipt: Receipt) -> None:
        self._execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)",
            (
                receipt.tenant,
                receipt.scope,
                receipt.service,
                receipt.request_id,
                receipt.create_time,
                _encode(receipt),
            ),
        )

    def forget(self, before: int, limit: int) -> int:
        """Remove turns that ended, and receipts that were written, long ago."""
        self.littered = True
        old = self._execute(
            "SELECT key FROM turns WHERE end_time < ? ORDER BY end_time LIMIT ?", (before, limit)
        ).fetchall()
        self._forget_turns([key for (key,) in old])
        receipts = self._execute(
            "DELETE FROM receipts WHERE (tenant, scope, service, request_id) IN"
            " (SELECT tenant, scope, service, request_id FROM receipts WHERE create_time < ? LIMIT ?)",
            (before, limit),
        ).rowcount
        return len(old) + receipts

    def _forget_turns(self, keys: Sequence[int]) -> None:
        self.connection.executemany("DELETE FROM events WHERE key >= ? AND key < ?", map(_pieces, keys))
        self.connection.executemany("DELETE FROM turns WHERE key = ?", [(key,) for key in keys])

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
        kept: int = self._execute("SELECT coalesce(max(stop), 0) FROM segments WHERE history = ?", (key,)).fetchone()[0]
        first, size = (key << _INDEX_BITS) + kept, 0
        rows = self._execute(
            "SELECT key, length(body) FROM messages WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (first, (key + 1) << _INDEX_BITS, _PIECE_ROWS),
        ).fetchall()
        for last, length in rows:
            size += length
            if size >= _PIECE_BYTES or last == rows[-1][0]:
                self._execute("DELETE FROM messages WHERE key >= ? AND key <= ?", (first, last))
                return
        turns = self._execute("SELECT key FROM turns WHERE session = ? LIMIT ?", (key, _PIECE_ROWS)).fetchall()
        self._forget_turns([turn for (turn,) in turns])
        if len(turns) < _PIECE_ROWS:
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


def _ranges(key: int, segments: Sequence[Segment], start: int, stop: int) -> Sequence[tuple[int, int]]:
    """The rows of the messages with ``start <= index < stop``, as ranges of keys, in order."""
    result = []
    for history, end in (*segments, (key, _MAX_MESSAGES)):
        if start < min(end, stop):
            result.append(((history << _INDEX_BITS) + start, (history << _INDEX_BITS) + min(end, stop)))
            start = min(end, stop)
    return result


def _pieces(turn: int) -> tuple[int, int]:
    """The keys of the pieces of a turn's log: from the first to before the second."""
    return turn << _PIECE_BITS, (turn + 1) << _PIECE_BITS


def _messages(bodies: Sequence[bytes]) -> tuple[Message, ...]:
    # One array of all of them is decoded faster than each alone: msgpack announces it by this byte and its length.
    return _decode_messages(b"\xdd" + len(bodies).to_bytes(4) + b"".join(bodies)) if bodies else ()
