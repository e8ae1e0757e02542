"""Keeps everything in this process's memory: for tests and throw-away use. Nothing outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Change, Changed, SessionQuery
from mcp_server.messages import MCPSession, Message, Turn, TurnState

_UNFINISHED = frozenset((TurnState.QUEUED, TurnState.RUNNING))


class MemoryStore:
    """A :class:`~mcp_server.interfaces.Store` in plain dictionaries."""

    def __init__(self) -> None:
        self._open = False
        self._sessions: dict[tuple[str, str], MCPSession] = {}
        self._messages: dict[tuple[str, str], list[Message]] = {}
        self._turns: dict[tuple[str, str], Turn] = {}

    async def open(self) -> None:
        """Make ready for use."""
        self._open = True

    async def close(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]  # back to the beginning

    async def change(self, tenant: str, session: str, decide: Callable[[MCPSession | None], Change], /) -> Changed:
        """Read, decide and write without giving up control in between."""
        self._check_open()
        key = (tenant, session)
        old = self._sessions.get(key)
        change = decide(old)
        history = self._messages[tenant, old.uid] if old is not None else []
        read = tuple(history[-change.read_last :]) if change.read_last else ()
        new = change.session
        if old is not None and (change.delete or (new is not None and new.uid != old.uid)):
            self._remove(old)
        if new is not None:
            self._sessions[key] = new
            self._messages.setdefault((tenant, new.uid), []).extend(change.append)
        if change.turn is not None:
            self._turns[tenant, change.turn.id] = change.turn
        return Changed(change=change, messages=read)

    def _remove(self, session: MCPSession) -> None:
        del self._sessions[session.tenant, session.id]
        del self._messages[session.tenant, session.uid]
        for key in [key for key, turn in self._turns.items() if turn.session_uid == session.uid]:
            del self._turns[key]

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id."""
        self._check_open()
        return self._sessions.get((tenant, session))

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that fit."""
        self._check_open()
        found = sorted(
            (
                session
                for session in self._sessions.values()
                if session.tenant == query.tenant
                and not session.expired(query.now)
                and query.labels.items() <= session.labels.items()
            ),
            key=_position,
            reverse=query.newest_first,
        )
        if query.after is not None:
            after = query.after
            found = [s for s in found if (_position(s) < after if query.newest_first else _position(s) > after)]
        return [msgspec.structs.replace(session, context={}, metadata={}) for session in found[: query.limit]]

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """A range of a history."""
        self._check_open()
        return self._messages.get((tenant, uid), [])[max(start, 0) : max(stop, 0)]

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        self._check_open()
        return self._turns.get((tenant, turn))

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Sessions whose time has passed, the oldest first."""
        self._check_open()
        past = [(s.expire_time, s.tenant, s.id) for s in self._sessions.values() if (s.expire_time or now + 1) <= now]
        return [(tenant, session) for _, tenant, session in sorted(past)[:limit]]

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Turns that another process left behind."""
        self._check_open()
        return [turn for turn in self._turns.values() if turn.state in _UNFINISHED and turn.owner != owner][:limit]

    async def forget_turns(self, before: int, limit: int, /) -> int:
        """Remove turns that ended long ago."""
        self._check_open()
        old = [key for key, turn in self._turns.items() if turn.end_time is not None and turn.end_time < before][:limit]
        for key in old:
            del self._turns[key]
        return len(old)

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """How many sessions there are."""
        self._check_open()
        return {"sessions": sum(not session.expired(now) for session in self._sessions.values())}

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the store is closed")


def _position(session: MCPSession) -> tuple[int, str]:
    return session.create_time, session.uid
