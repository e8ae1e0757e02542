"""Watches sessions: the current state first, then every change, without a gap and without repetition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Final

import msgspec

from mcp_server.interfaces import Store
from mcp_server.sessions.changes import existing, not_found
from mcp_server.sessions.hub import Caller, Published, SessionHub, Topic, Watcher
from mcp_server.sessions.ownership import Ownership
from mcp_server.values import (
    UNFINISHED,
    Heartbeat,
    MCPSession,
    SessionCurrent,
    SessionDeleted,
    SessionEvent,
    SessionUpdated,
    Turn,
    TurnChanged,
    TurnState,
)

_ATTEMPTS: Final = 3
"""How often a session is read again that changes while it is read."""

TagAndEvent = tuple[str, SessionEvent]
"""The etag of the session after an event, and the event."""
Turns = Callable[[MCPSession], Awaitable[Sequence[Turn]]]
"""Reads the turns of a session that are queued or running, in the order in which they were accepted."""


class SessionWatches:
    """Opens watches of sessions, and looks for what they cannot learn from the hub.

    Args:
        store: an open store.
        ownership: this process.
        hub: publishes the changes that this process makes.
        turns: reads the unfinished turns of a session.
    """

    def __init__(self, store: Store, ownership: Ownership, hub: SessionHub, turns: Turns) -> None:
        self._store = store
        self._ownership = ownership
        self.hub = hub
        """Publishes the changes that this process makes."""
        self._turns = turns

    async def watch(self, session_id: str, caller: Caller, after_etag: str) -> SessionWatch:
        """Watch a session of the caller's tenant.

        Raises:
            SessionNotFound: there is none.
            Overloaded: too many watch it, or the caller watches too many.
        """
        tenant, _ = caller
        session = existing(await self._store.session(tenant, session_id), session_id, self._ownership.clock())
        return SessionWatch(self, session, self.hub.join(session, caller), after_etag)

    async def read(self, session: MCPSession) -> SessionCurrent | None:
        """A session as it is now; ``None`` if it is gone.

        The turns are read first. One that starts or ends meanwhile is published later; its messages may be there
        already.
        """
        turns = await self._turns(session)
        found = await self._store.session(session.tenant, session.id)
        if found is None or found.uid != session.uid or found.expired(self._ownership.clock()):
            return None
        return SessionCurrent(session=self._ownership.present(found), turns=tuple(turns))

    def present(self, event: SessionEvent) -> SessionEvent:
        """An event as a caller may see it."""
        if isinstance(event, SessionUpdated):
            return SessionUpdated(session=self._ownership.present(event.session))
        return event

    async def end_expired(self) -> None:
        """End the watches of sessions that have expired."""
        now = self._ownership.clock()
        for topic in self.hub:
            if topic.session.expired(now):
                await self._verify(topic)  # another server may have renewed it

    async def beat(self) -> None:
        """Send heartbeats to watchers that had no event for an interval, and find what other servers have
        changed."""
        self.hub.beat()
        for topic in self.hub:
            await self._verify(topic)

    async def _verify(self, topic: Topic) -> None:
        before = topic.session
        found = await self._store.session(before.tenant, before.id)
        if topic.session is not before:
            return  # this process has written it meanwhile, and published the change
        if found is None or found.uid != before.uid or found.expired(self._ownership.clock()):
            self.hub.end(topic)
            return
        topic.session = found
        if (found.etag, found.claim) != (before.etag, before.claim):
            topic.lose()


class SessionWatch:
    """Watches a session: an async iterator of ``(etag, event)``, and a context manager that stops watching.

    The first event is :class:`~mcp_server.values.SessionCurrent`. It raises SessionNotFound after the last event,
    and Draining when the server stops.
    """

    def __init__(self, watches: SessionWatches, session: MCPSession, watcher: Watcher, after_etag: str) -> None:
        self._watches = watches
        self._session = session
        self._watcher = watcher
        self._after_etag = after_etag
        self._etag = ""
        self._turns: dict[str, TurnState] = {}
        self._closed = False

    def __enter__(self) -> SessionWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching."""
        if not self._closed:
            self._closed = True
            self._watches.hub.leave(self._session, self._watcher)

    async def __aiter__(self) -> AsyncIterator[TagAndEvent]:
        watcher, beat = self._watcher, False
        while True:
            if watcher.gone:
                if self._etag:
                    yield "", SessionDeleted()
                raise not_found(self._session.id)
            if watcher.error is not None:
                raise watcher.error
            if watcher.lost:
                current = await self._current()
                if current is not None:
                    yield self._etag, current
            elif watcher.pending:
                for event in self._unread(watcher.pending.popleft()):
                    yield self._etag, event
            elif beat:
                yield "", Heartbeat()
                beat = False
            else:
                beat = await watcher.wait()

    async def _current(self) -> SessionCurrent | None:
        """The session as it is now; ``None`` if the reader has that already, or if it is gone."""
        watcher = self._watcher
        for _ in range(_ATTEMPTS):
            watcher.pending.clear()
            watcher.lost = False
            current = await self._watches.read(self._session)
            if current is None or not (watcher.lost or watcher.pending):
                break
        if current is None:
            watcher.end()
            return None
        turns = {turn.id: turn.state for turn in current.turns}
        first, before = not self._etag, (self._etag, self._turns)
        self._etag, self._turns = current.session.etag, turns
        if first:
            return msgspec.structs.replace(current, brief=self._after_etag == self._etag)
        return None if before == (self._etag, turns) else current

    def _unread(self, published: Published) -> Iterator[SessionEvent]:
        """The events of a change that the reader does not have yet."""
        if published.content:
            if published.before == self._etag:
                self._etag = published.etag
                yield from map(self._watches.present, published.content)
            elif published.etag != self._etag:
                self._watcher.lose()  # another server has changed it, or the change was read already
                return
        if published.turn is not None and self._is_news(published.turn):
            yield TurnChanged(turn=published.turn)

    def _is_news(self, turn: Turn) -> bool:
        state = self._turns.get(turn.id)
        if turn.state in UNFINISHED:
            self._turns[turn.id] = turn.state
            return turn.state is not state
        self._turns.pop(turn.id, None)
        return state is not None
