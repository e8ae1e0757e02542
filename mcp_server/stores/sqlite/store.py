"""The store itself: hands every call to a thread that has a connection to the file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, LookUp, SessionQuery, StoreObserver, UsageQuery
from mcp_server.stores.sqlite.changes import Changes
from mcp_server.stores.sqlite.file import DatabaseFile
from mcp_server.stores.sqlite.jobs import JobQueue
from mcp_server.stores.sqlite.threads import Reader, Writer
from mcp_server.values import Key, MCPSession, Message, Turn, UsageSum

_READERS: Final = 2


class SQLiteStore:
    """An :class:`~mcp_server.interfaces.AccountStore` in one SQLite file, for one server at a time.

    A change is on disk when :meth:`change` returns. Changes that wait at the same time are committed together. A caller
    that is cancelled does not learn whether its change was made; it is made entirely or not at all.

    Args:
        path: the file. It is created if it does not exist, with its folder. A lock keeps other processes out.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = DatabaseFile(Path(path))
        self._changes = JobQueue("change")
        self._reads = JobQueue("read")
        self._threads: list[threading.Thread] = []
        self._writer: Writer | None = None

    def observe(self, observer: StoreObserver, /) -> None:
        """Notify ``observer`` of each operation and each commit."""
        self._changes.observer = self._reads.observer = observer

    def waiting(self, operation: str, /) -> int:
        """How many operations wait for a thread."""
        return len(self._changes if operation == "change" else self._reads)

    async def open(self) -> None:
        """Open the file, or create it, and upgrade it if an earlier release wrote it.

        Raises:
            ConfigError: the file cannot be used. It is unchanged.
        """
        self._writer = writer = await asyncio.to_thread(self._open)
        self._threads.append(threading.Thread(target=writer.run, name="store-writer", daemon=True))
        for number in range(_READERS):
            reader = Reader(self._file, self._reads)
            self._threads.append(threading.Thread(target=reader.run, name=f"store-reader-{number}", daemon=True))
        for thread in self._threads:
            thread.start()
        self._changes.open()
        self._reads.open()

    def _open(self) -> Writer:
        connection = self._file.open()
        try:
            changes = Changes(connection)
            changes.drop_holds()
        except sqlite3.Error as error:
            connection.close()
            self._file.close()
            raise self._file.unusable(error) from error
        return Writer(self._file, changes, self._changes)

    async def close(self) -> None:
        """Finish the changes that were accepted, then close the file."""
        self._changes.close(threads=1)
        self._reads.close(threads=_READERS)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        while self._threads:
            self._threads.pop().join()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._file.close()

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read, decide and write in one transaction, on the writing thread."""
        return await self._changes.run(lambda changes: changes.change(tenant, session, decide, look_up))

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id."""
        return await self._reads.run(lambda queries: queries.session(tenant, session))

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that match the query."""
        return await self._reads.run(lambda queries: queries.sessions(query))

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """A range of a session's history."""
        return await self._reads.run(lambda queries: queries.messages(tenant, uid, start, stop))

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        return await self._reads.run(lambda queries: queries.turn(tenant, turn))

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """The turns of a session, greatest id first."""
        return await self._reads.run(lambda queries: queries.turns(tenant, uid, limit, before))

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of a turn's log."""
        return await self._reads.run(lambda queries: queries.events(tenant, turn))

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Sessions that have expired, oldest first."""
        return await self._reads.run(lambda queries: queries.expired(now, limit))

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Unfinished turns whose lease another process has, or nobody."""
        return await self._reads.run(lambda queries: queries.interrupted(owner, limit))

    async def forget(self, before: int, limit: int, /) -> int:
        """Delete old turns and receipts."""
        return await self._changes.run(lambda changes: changes.forget(before, limit))

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """The number of sessions."""
        return await self._reads.run(lambda queries: queries.counts(now))

    # -- accounts -----------------------------------------------------------------------------------------------------

    async def usage(self, query: UsageQuery, /) -> Sequence[UsageSum]:
        """The sums of the usage ledger by group."""
        return await self._reads.run(lambda queries: queries.usage(query))

    async def change_key(self, key: str, decide: Callable[[Key | None], Key], /) -> Key:
        """Read, decide and write an API key in one transaction."""
        return await self._changes.run(lambda changes: changes.change_key(key, decide))

    async def key(self, key: str, /) -> Key | None:
        """The API key with that id."""
        return await self._reads.run(lambda queries: queries.key(key))

    async def keys(self, tenant: str, limit: int, after: tuple[int, str] | None, /) -> Sequence[Key]:
        """The API keys of a tenant, oldest first."""
        return await self._reads.run(lambda queries: queries.keys(tenant, limit, after))

    async def secret(self, name: str, /) -> bytes:
        """The secret of that name."""
        return await self._changes.run(lambda changes: changes.secret(name))
