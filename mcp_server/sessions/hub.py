"""Publishes the changes of sessions that this process makes to the watchers of those sessions.

The changes of sessions and turns go through :meth:`SessionHub.change`, which looks at what a change of a watched
session has written. Nothing is read, and no writer waits: a watcher that does not keep up loses its events, and reads
the session again instead.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from typing import Final

from mcp_server.errors import Draining, MCPError, Overloaded, StoreUnavailable
from mcp_server.interfaces import NO_LOOK_UP, Change, Changed, Decide, LookUp, Store
from mcp_server.values import (
    MCPSession,
    MessagesAppended,
    SessionRewound,
    SessionUpdated,
    Struct,
    Turn,
    TurnState,
)

MAX_WATCHERS: Final = 64
"""How many may watch one session."""
MAX_WATCHERS_OF_CALLER: Final = 1000
"""How many watchers one caller may have, of all sessions together."""
MAX_PENDING: Final = 64
"""How many changes wait for a watcher that reads slowly."""

Caller = tuple[str, str]
"""The tenant and the API key of a caller."""


class Published(Struct):
    """What one change has done to a session."""

    before: str
    """The etag of the session before the change."""
    etag: str
    """The etag afterwards."""
    content: tuple[MessagesAppended | SessionRewound | SessionUpdated, ...] = ()
    """How its content has changed; empty if the etag is the same."""
    turn: Turn | None = None
    """The turn that was queued, has started or has ended by it."""


class Watcher:
    """The changes of a session that one call has not read yet."""

    __slots__ = ("_beat", "_waiter", "caller", "error", "gone", "lost", "pending")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        """The caller who watches."""
        self.pending: deque[Published] = deque()
        """The changes since the session was read, oldest first."""
        self.lost = True
        """Whether changes may be missing: the session has to be read again."""
        self.gone = False
        """Whether the session was deleted, or has expired."""
        self.error: MCPError | None = None
        """Why the watcher has to end."""
        self._waiter: asyncio.Future[None] | None = None
        self._beat = False

    def put(self, published: Published) -> None:
        """Add a change. If there is no room for it, all are lost."""
        if len(self.pending) >= MAX_PENDING:
            self.lose()
        elif not self.lost:
            self.pending.append(published)
            self._wake()

    def lose(self) -> None:
        """Let the session be read again instead of the changes that wait."""
        self.pending.clear()
        self.lost = True
        self._wake()

    def end(self, error: MCPError | None = None) -> None:
        """End with ``error``, or because the session is gone."""
        self.gone, self.error = error is None, error
        self._wake()

    def beat(self) -> None:
        """If it has been waiting since the last time this was called, let it yield a heartbeat."""
        if self._waiter is None:
            self._beat = False
        elif self._beat:
            self._wake()
        else:
            self._beat = True

    async def wait(self) -> bool:
        """Wait until something has happened or a heartbeat is due; return whether it is the heartbeat."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        beat, self._beat = self._beat, False
        return beat

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Topic:
    """A session that is watched."""

    __slots__ = ("session", "watchers")

    def __init__(self, session: MCPSession) -> None:
        self.session = session
        """The session as this process has last written or read it."""
        self.watchers: dict[Watcher, None] = {}
        """Its watchers, in the order in which they came."""

    def lose(self) -> None:
        """Let all watchers read the session again."""
        for watcher in self.watchers:
            watcher.lose()


class SessionHub:
    """The sessions that are watched in this process."""

    def __init__(self) -> None:
        self._topics: dict[tuple[str, str], Topic] = {}
        self._callers: Counter[Caller] = Counter()

    def __iter__(self) -> Iterator[Topic]:
        return iter(list(self._topics.values()))

    # -- watchers -----------------------------------------------------------------------------------------------------

    def join(self, session: MCPSession, caller: Caller) -> Watcher:
        """Watch a session as it was read just now.

        Raises:
            Overloaded: too many watch it, or its caller watches too many.
        """
        if self._callers[caller] >= MAX_WATCHERS_OF_CALLER:
            raise _too_many("the caller watches too many sessions", session, "max_watchers_of_caller")
        key = session.tenant, session.id
        topic = self._topics.get(key)
        if topic is not None and topic.session.uid != session.uid:
            self.end(topic)
            topic = None
        if topic is None:
            topic = self._topics[key] = Topic(session)
        if len(topic.watchers) >= MAX_WATCHERS:
            raise _too_many(f"too many calls watch {session.name}", session, "max_watchers")
        watcher = Watcher(caller)
        topic.watchers[watcher] = None
        self._callers[caller] += 1
        return watcher

    def leave(self, session: MCPSession, watcher: Watcher) -> None:
        """Stop watching."""
        self._callers[watcher.caller] -= 1
        if not self._callers[watcher.caller]:
            del self._callers[watcher.caller]
        topic = self._topics.get((session.tenant, session.id))
        if topic is not None and watcher in topic.watchers:
            del topic.watchers[watcher]
            if not topic.watchers:
                del self._topics[session.tenant, session.id]

    # -- changes ------------------------------------------------------------------------------------------------------

    async def change(
        self, store: Store, tenant: str, session: str, decide: Decide, look_up: LookUp = NO_LOOK_UP
    ) -> Changed:
        """:meth:`Store.change <mcp_server.interfaces.Store.change>`, published to the watchers of the session."""
        if (tenant, session) in self._topics:
            # The change is published even if its caller leaves before it is written.
            task = asyncio.ensure_future(store.change(tenant, session, decide, look_up))
            task.add_done_callback(partial(self._written, tenant, session))
            return await asyncio.shield(task)
        changed = await store.change(tenant, session, decide, look_up)
        self._publish(tenant, session, changed)
        return changed

    def _written(self, tenant: str, session: str, task: asyncio.Task[Changed]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._publish(tenant, session, task.result())
            return
        refused = isinstance(error, MCPError) and not isinstance(error, StoreUnavailable)
        if not refused and (topic := self._topics.get((tenant, session))) is not None:
            topic.lose()  # it may have been written all the same

    def _publish(self, tenant: str, session: str, changed: Changed) -> None:
        topic = self._topics.get((tenant, session))
        if topic is None:
            return
        change = changed.change
        old, new = changed.stored.session, change.session
        if old is not None and old.uid != topic.session.uid:
            return
        if change.delete or (new is not None and new.uid != topic.session.uid):
            self.end(topic)
            return
        if new is not None:
            topic.session = new
        if old is None:
            return
        published = Published(
            before=old.etag,
            etag=old.etag if new is None else new.etag,
            content=() if new is None else _content(old, new, change),
            turn=_turn(change),
        )
        if published.content or published.turn is not None:
            for watcher in topic.watchers:
                watcher.put(published)

    def end(self, topic: Topic) -> None:
        """Note that a session is gone."""
        key = topic.session.tenant, topic.session.id
        if self._topics.get(key) is topic:
            del self._topics[key]
        for watcher in topic.watchers:
            watcher.end()

    def drain(self) -> None:
        """End all watchers: the server stops."""
        for topic in self:
            for watcher in topic.watchers:
                watcher.end(Draining("the server is about to stop: watch the session again", retry_after=1))

    def beat(self) -> None:
        """Let the watchers that have been waiting for a whole interval yield a heartbeat."""
        for topic in self:
            for watcher in topic.watchers:
                watcher.beat()


def _content(
    old: MCPSession, new: MCPSession, change: Change
) -> tuple[MessagesAppended | SessionRewound | SessionUpdated, ...]:
    """How the content of a session has changed."""
    if new.etag == old.etag:
        return ()
    content: list[MessagesAppended | SessionRewound | SessionUpdated] = []
    if change.rewind is not None:
        content.append(SessionRewound(message_count=change.rewind))
    if change.append:
        first = change.append[0]
        content.append(MessagesAppended(first_index=first.index, message_count=new.message_count, turn=first.turn))
    if not content or new.context is not old.context:
        content.append(SessionUpdated(session=new))
    return tuple(content)


def _turn(change: Change) -> Turn | None:
    """The turn that a change has queued, started or ended; ``None`` if it stores only how far one is."""
    turn = change.turn
    if turn is None or (turn.state is TurnState.RUNNING and change.session is None):
        return None
    return turn


def _too_many(problem: str, session: MCPSession, limit: str) -> Overloaded:
    return Overloaded(
        f"{problem}: end another call, or send this one again later",
        metadata={"session": session.name, "limit": limit},
        retry_after=5,
    )
