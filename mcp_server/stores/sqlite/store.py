"""The store as the rest of the server sees it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, LookUp, SessionQuery
from mcp_server.stores.sqlite.file import DatabaseFile
from mcp_server.stores.sqlite.threads import Jobs, Reader, Writer
from mcp_server.stores.sqlite.writable import WritableTables
from mcp_server.values import MCPSession, Message, Turn

_READERS: Final = 2


class SQLiteStore:
    """A :class:`~mcp_server.interfaces.Store` in one SQLite file.

    A change is on the disk when :meth:`change` returns. Changes that wait at the same time are committed together. A
    caller that is cancelled while its change waits does not learn whether it was made; it is made whole or not at all.

    Args:
        path: the file. It is made if there is none, its folder too. One process at a time can use it.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = DatabaseFile(Path(path))
        self._changes = Jobs()
        self._reads = Jobs()
        self._threads: list[threading.Thread] = []
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: the file cannot be used; it is left as it was found.
        """
        writer = await asyncio.to_thread(self._open)
        self._threads.append(threading.Thread(target=writer.run, name="store-writer", daemon=True))
        for number in range(_READERS):
            reader = Reader(self._file, self._reads)
            self._threads.append(threading.Thread(target=reader.run, name=f"store-reader-{number}", daemon=True))
        for thread in self._threads:
            thread.start()
        self._changes.open()
        self._reads.open()

    def _open(self) -> Writer:
        self._connection = self._file.open()
        return Writer(self._file, WritableTables(self._connection), self._changes)

    async def close(self) -> None:
        """Write all that was accepted, then give back the file."""
        self._changes.close(takers=1)
        self._reads.close(takers=_READERS)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        while self._threads:
            self._threads.pop().join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._file.close()

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read, decide and write on the thread that writes."""
        return await self._changes.do(lambda tables: tables.change(tenant, session, decide, look_up))

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id."""
        return await self._reads.do(lambda tables: tables.session(tenant, session))

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that fit."""
        return await self._reads.do(lambda tables: tables.sessions(query))

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """A range of a history."""
        return await self._reads.do(lambda tables: tables.messages(tenant, uid, start, stop))

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        return await self._reads.do(lambda tables: tables.turn(tenant, turn))

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """Turns of a session, the greatest id first."""
        return await self._reads.do(lambda tables: tables.turns(tenant, uid, limit, before))

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of the log of a turn."""
        return await self._reads.do(lambda tables: tables.events(tenant, turn))

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Sessions whose time has passed, the oldest first."""
        return await self._reads.do(lambda tables: tables.expired(now, limit))

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Turns that another process left behind."""
        return await self._reads.do(lambda tables: tables.interrupted(owner, limit))

    async def forget(self, before: int, limit: int, /) -> int:
        """Remove turns that ended, and receipts that were written, long ago."""
        return await self._changes.do(lambda tables: tables.forget(before, limit))

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """How many sessions there are."""
        return await self._reads.do(lambda tables: tables.counts(now))
