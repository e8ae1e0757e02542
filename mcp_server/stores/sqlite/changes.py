"""The atomic changes of the store, on the thread that has the only writing connection."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable

from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, LookUp, RequestKey, Stored
from mcp_server.stores.consistency import check
from mcp_server.stores.holds import Holds
from mcp_server.stores.sqlite.accounts import AccountRows
from mcp_server.stores.sqlite.cache import CachedSession, SessionCache
from mcp_server.stores.sqlite.garbage import GarbageCollector
from mcp_server.stores.sqlite.queries import Queries
from mcp_server.stores.sqlite.receipts import ReceiptRows
from mcp_server.stores.sqlite.rows import encode, receipt_of, session_of, turn_of
from mcp_server.stores.sqlite.sessions import SessionRows
from mcp_server.stores.sqlite.turns import TurnRows
from mcp_server.values import Key, MCPSession, Message, Receipt, Turn


class Changes(Queries):
    """Changes and reads, each within the transaction between :meth:`begin` and :meth:`commit`.

    Args:
        connection: the one that writes.
        holds: the holds of this process; without them there are none yet.
    """

    def __init__(self, connection: sqlite3.Connection, holds: Holds | None = None) -> None:
        super().__init__(connection)
        self.holds = Holds() if holds is None else holds
        self._cache = SessionCache()
        self._sessions = SessionRows(connection, self, self._cache)
        self._turns = TurnRows(connection)
        self._receipts = ReceiptRows(connection)
        self._accounts = AccountRows(connection, self.holds)
        self._garbage = GarbageCollector(connection, self._turns)
        self._data_version = 0
        self.has_garbage = True
        """Whether :meth:`collect_garbage` may find something to delete."""

    def change(self, tenant: str, session: str, decide: Decide, look_up: LookUp) -> Changed:
        """Read, decide and write."""
        cached = self._cache.pop(tenant, session) or self._read(tenant, session)
        old = None if cached is None else cached.session
        try:
            stored = Stored(session=old) if look_up is NO_LOOK_UP else self._stored(tenant, cached, look_up)
            change = decide(stored)
            source = self._sessions.source(tenant, change.fork_of) if change.fork_of else None
            check(tenant, session, old, change, forked=None if source is None else source[2])
        except BaseException:
            if cached is not None:
                self._cache.put(cached)
            raise
        tail: tuple[Message, ...] = ()
        if cached is not None and change.read_last:
            tail = self._sessions.tail(cached, change.read_last, change.read_bytes)
        new = change.session
        # Read before the old session is deleted, which may be the source.
        shared = (
            ()
            if source is None or new is None
            else self._sessions.shared(source, new.message_count - len(change.append))
        )
        if cached is not None and (change.delete or (new is not None and new.uid != cached.session.uid)):
            self._sessions.delete(cached)
            self.has_garbage = True
            cached = None
        if new is not None:
            if cached is None:
                cached = self._sessions.insert(new, shared, change.append)
            else:
                if change.rewind is not None and change.rewind < cached.session.message_count:
                    self._sessions.rewind(cached, change.rewind)
                    self.has_garbage = True
                self._sessions.update(cached, new, change.append)
        turn = change.turn
        if turn is not None:
            self._turns.put(turn, change.events, cached.key if cached is not None and turn.session_uid else None)
        if change.receipt is not None:
            self._receipts.insert(change.receipt)
        if change.hold is not None or change.release or change.book or change.rates:
            self._accounts.write(tenant, change)
        if cached is not None:
            self._cache.put(cached)
        return Changed(change=change, stored=stored, messages=tail)

    def _read(self, tenant: str, session: str) -> CachedSession | None:
        row = self._row(tenant, session) if session else None
        if row is None:
            return None
        return CachedSession(
            row[0],
            session_of(row, row[13]),
            summary_size=len(row[12]),
            content_size=len(row[13]),
            shared=row[14],
            bytes=row[15],
        )

    def _stored(self, tenant: str, cached: CachedSession | None, look_up: LookUp) -> Stored:
        session = None if cached is None else cached.session
        turn = self.turn(tenant, look_up.turn) if look_up.turn else None
        if look_up.request is not None:
            turn = self._turn_of_request(tenant, cached, look_up.request)
        return Stored(
            session=session,
            turn=turn,
            receipt=None if look_up.receipt is None else self._receipt(tenant, session, look_up.receipt),
            other=self.session(tenant, look_up.other) if look_up.other else None,
            holder=self.turn(tenant, session.claim) if look_up.holder and session and session.claim else None,
            accounts=tuple([self._accounts.read(tenant, query) for query in look_up.accounts]),
        )

    def _turn_of_request(self, tenant: str, cached: CachedSession | None, request: RequestKey) -> Turn | None:
        session = 0
        if request.in_session:
            if cached is None:
                return None
            session = cached.key
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

    def forget(self, before: int, limit: int) -> int:
        """Delete turns whose retention period began, and receipts that were written, before that time."""
        count = self._turns.forget(before, limit) + self._receipts.forget(before, limit)
        self.has_garbage = True
        return count

    def change_key(self, key: str, decide: Callable[[Key | None], Key]) -> Key:
        """Read an API key, decide and write."""
        new = decide(self.key(key))
        self._execute(
            "INSERT INTO api_keys (id, tenant, create_time, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET body = excluded.body",
            (new.id, new.tenant, new.create_time, encode(new)),
        )
        return new

    def secret(self, name: str) -> bytes:
        """The secret of that name, made at the first call."""
        self._execute(
            "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, secrets.token_bytes(32))
        )
        value: bytes = self._execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()[0]
        return value

    def drop_holds(self) -> None:
        """Delete all holds: the work that had them is gone."""
        # With a condition SQLite writes nothing where there are none: a server starts on a full disk, and can be read.
        self._execute("DELETE FROM holds WHERE true")

    def collect_garbage(self) -> None:
        """Delete a portion of what deleted sessions have left."""
        self.has_garbage = self._garbage.step()

    def begin(self) -> None:
        """Begin a transaction."""
        self._execute("BEGIN IMMEDIATE")
        # The caches are valid unless another program has written to the file.
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._clear_caches()

    def commit(self) -> None:
        """Make the transaction durable."""
        self._accounts.flush()
        self._execute("COMMIT")
        self._accounts.keep()

    def roll_back(self) -> None:
        """Undo everything since :meth:`begin`."""
        if self.connection.in_transaction:  # SQLite may have rolled back already
            self._execute("ROLLBACK")
        self._accounts.undo()
        self._clear_caches()
        # The collector must not retry at once what failed: the next deletion wakes it.
        self.has_garbage = False

    def _clear_caches(self) -> None:
        self._cache.clear()
        self._turns.clear_cache()
        self._accounts.clear_cache()
