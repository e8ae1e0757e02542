"""What is read from and written to the tables, as values. Everything here runs on the thread that holds the connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.interfaces import Change, Changed, SessionQuery
from mcp_server.messages import Claim, ContextEntry, MCPSession, Message, Struct, Turn, TurnState

T = TypeVar("T")

_INDEX_BITS: Final = 32
_MAX_MESSAGES: Final = 1 << _INDEX_BITS
_UNFINISHED: Final = frozenset((TurnState.QUEUED, TurnState.RUNNING))
_PIECE_BYTES: Final = 1024 * 1024
_PIECE_ROWS: Final = 500

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


_encode = msgspec.msgpack.Encoder().encode
_decode_summary = msgspec.msgpack.Decoder(_Summary).decode
_decode_content = msgspec.msgpack.Decoder(_Content).decode
_decode_messages = msgspec.msgpack.Decoder(tuple[Message, ...]).decode
_decode_turn = msgspec.msgpack.Decoder(Turn).decode


class Tables:
    """Reads. Each is one snapshot of the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute

    def session(self, tenant: str, session: str) -> MCPSession | None:
        """The session with that id."""
        found = self._find(tenant, session)
        return None if found is None else found[1]

    def _find(self, tenant: str, session: str) -> tuple[int, MCPSession] | None:
        row = self._execute(
            f"SELECT {_SESSION}, c.content FROM sessions s JOIN contents c ON c.key = s.key"
            " WHERE s.tenant = ? AND s.id = ?",
            (tenant, session),
        ).fetchone()
        return None if row is None else (row[0], _session(row, _decode_content(row[15])))

    def sessions(self, query: SessionQuery) -> Sequence[MCPSession]:
        """A page of sessions."""
        comparison, order = ("<", "DESC") if query.newest_first else (">", "ASC")
        tables, conditions, values = "sessions s", ["s.tenant = ?"], [query.tenant]
        age: tuple[str, str] = ("s.create_time", "s.uid")
        parameters: list[Any] = [*values]
        for number, (name, value) in enumerate(query.labels.items()):
            label = f"l{number}"
            if number == 0:
                # The first label leads: its rows lie in the order of the list.
                tables = f"labels {label} CROSS JOIN sessions s ON s.key = {label}.session"
                conditions = [f"{label}.tenant = ?", f"{label}.name = ?", f"{label}.value = ?"]
                parameters += [name, value]
                age = (f"{label}.create_time", f"{label}.uid")
            else:
                conditions.append(
                    "EXISTS (SELECT 1 FROM labels x WHERE x.tenant = s.tenant AND x.name = ? AND x.value = ?"
                    " AND x.create_time = s.create_time AND x.uid = s.uid)"
                )
                parameters += [name, value]
        if query.after is not None:
            conditions.append(f"({age[0]}, {age[1]}) {comparison} (?, ?)")
            parameters += query.after
        conditions.append("(s.end_time IS NULL OR s.end_time > ?)")
        parameters += [query.now, query.limit]
        rows = self._execute(
            f"SELECT {_SESSION} FROM {tables} CROSS JOIN contents c ON c.key = s.key WHERE {' AND '.join(conditions)}"
            f" ORDER BY {age[0]} {order}, {age[1]} {order} LIMIT ?",
            parameters,
        )
        return [_session(row, _EMPTY) for row in rows]

    def messages(self, tenant: str, uid: str, start: int, stop: int) -> Sequence[Message]:
        """A range of a history."""
        row = self._execute("SELECT key FROM sessions WHERE tenant = ? AND uid = ?", (tenant, uid)).fetchone()
        return () if row is None else self._messages(row[0], start, stop)

    def _messages(self, key: int, start: int, stop: int) -> tuple[Message, ...]:
        first = key << _INDEX_BITS
        rows = self._execute(
            "SELECT body FROM messages WHERE key >= ? AND key < ? ORDER BY key",
            (first + max(start, 0), first + min(max(stop, 0), _MAX_MESSAGES)),
        ).fetchall()
        # One array of all of them is decoded faster than each alone.
        return _decode_messages(_array_header(len(rows)) + b"".join([row[0] for row in rows])) if rows else ()

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
        self.littered = True
        """Whether anything may be left to clear away."""

    def change(self, tenant: str, session: str, decide: Callable[[MCPSession | None], Change]) -> Changed:
        """Read, decide and write. All that can be wrong with the values shows before the first write."""
        found = self._find(tenant, session) if session else None
        key, old = found if found is not None else (0, None)
        change = decide(old)
        read = ()
        if change.read_last and old is not None:
            read = self._messages(key, old.message_count - change.read_last, old.message_count)
        new = change.session
        if new is None:
            if change.delete and old is not None:
                self._remove(key, old)
        elif old is not None and old.uid == new.uid:
            self._update(key, old, new)
        else:
            if old is not None:
                self._remove(key, old)
            key = self._insert(new)
        if change.append:
            first = key << _INDEX_BITS
            self.connection.executemany(
                "INSERT INTO messages VALUES (?, ?)",
                [(first + message.index, _encode(message)) for message in change.append],
            )
        if change.turn is not None:
            self._put_turn(change.turn, key if change.turn.session_uid else None)
        return Changed(change=change, messages=read)

    def _insert(self, session: MCPSession) -> int:
        self._last_key = key = self._last_key + 1
        claim = session.claim
        self._execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                session.tenant,
                session.id,
                session.uid,
                session.create_time,
                session.update_time,
                session.etag,
                session.expire_time,
                _end_time(session),
                session.message_count,
                session.fence,
                None if claim is None else claim.turn,
                None if claim is None else claim.owner,
                None if claim is None else claim.fence,
                None if claim is None else claim.expire_time,
            ),
        )
        self._execute("INSERT INTO contents VALUES (?, ?, ?)", (key, _summary(session), _content(session)))
        if session.labels:
            self._add_labels(key, session, session.labels)
        return key

    def _update(self, key: int, old: MCPSession, new: MCPSession) -> None:
        claim = new.claim
        self._execute(
            "UPDATE sessions SET update_time = ?, etag = ?, expire_time = ?, end_time = ?, message_count = ?, fence = ?,"
            " claim_turn = ?, claim_owner = ?, claim_fence = ?, claim_expire_time = ? WHERE key = ?",
            (
                new.update_time,
                new.etag,
                new.expire_time,
                _end_time(new),
                new.message_count,
                new.fence,
                None if claim is None else claim.turn,
                None if claim is None else claim.owner,
                None if claim is None else claim.fence,
                None if claim is None else claim.expire_time,
                key,
            ),
        )
        # A turn hands back the very objects that it was given: nothing is compared, let alone written.
        if (
            new.labels is not old.labels
            or new.ttl != old.ttl
            or new.system_instruction is not old.system_instruction
            or new.default_model is not old.default_model
            or new.parent is not old.parent
        ):
            self._execute("UPDATE contents SET summary = ? WHERE key = ?", (_summary(new), key))
            if new.labels != old.labels:
                self._remove_labels(old)
                self._add_labels(key, new, new.labels)
        if new.context is not old.context or new.metadata is not old.metadata:
            self._execute("UPDATE contents SET content = ? WHERE key = ?", (_content(new), key))

    def _add_labels(self, key: int, session: MCPSession, labels: Mapping[str, str]) -> None:
        self.connection.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?)",
            [(session.tenant, name, value, session.create_time, session.uid, key) for name, value in labels.items()],
        )

    def _remove_labels(self, session: MCPSession) -> None:
        self.connection.executemany(
            "DELETE FROM labels WHERE tenant = ? AND name = ? AND value = ? AND create_time = ? AND uid = ?",
            [(session.tenant, name, value, session.create_time, session.uid) for name, value in session.labels.items()],
        )

    def _remove(self, key: int, session: MCPSession) -> None:
        """Remove the session; what may be much of it follows in pieces."""
        self._remove_labels(session)
        self._execute("DELETE FROM contents WHERE key = ?", (key,))
        self._execute("DELETE FROM sessions WHERE key = ?", (key,))
        self._execute("INSERT INTO removed VALUES (?)", (key,))
        self.littered = True

    def _put_turn(self, turn: Turn, session: int | None) -> None:
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

    def clear(self) -> None:
        """Clear away one piece of what removed sessions left behind."""
        row = self._execute("SELECT session FROM removed LIMIT 1").fetchone()
        if row is None:
            self.littered = False
            return
        key = row[0]
        stop, size = 0, 0
        for stop, length in self._execute(  # noqa: B007  # where it breaks off is what is wanted
            "SELECT key, length(body) FROM messages WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
            (key << _INDEX_BITS, (key + 1) << _INDEX_BITS, _PIECE_ROWS),
        ):
            size += length
            if size >= _PIECE_BYTES:
                break
        if size:
            self._execute("DELETE FROM messages WHERE key >= ? AND key <= ?", (key << _INDEX_BITS, stop))
            return
        turns = self._execute(
            "DELETE FROM turns WHERE rowid IN (SELECT rowid FROM turns WHERE session = ? LIMIT ?)", (key, _PIECE_ROWS)
        ).rowcount
        if turns < _PIECE_ROWS:
            self._execute("DELETE FROM removed WHERE session = ?", (key,))


_EMPTY: Final = _Content()


def _session(row: tuple[Any, ...], content: _Content) -> MCPSession:
    summary = _decode_summary(row[14])
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


def _end_time(session: MCPSession) -> int | None:
    """When the session counts as expired: not before the claim of a running turn ends."""
    if session.expire_time is None or session.claim is None:
        return session.expire_time
    return max(session.expire_time, session.claim.expire_time)


def _array_header(length: int) -> bytes:
    """How msgpack announces an array of ``length`` values."""
    return b"\xdd" + length.to_bytes(4)
