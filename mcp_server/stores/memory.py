"""Keeps everything in this process's memory: for tests and throw-away use. Nothing outlives the process."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import (
    NO_LOOK_UP,
    Change,
    Changed,
    Decide,
    LookUp,
    RequestKey,
    SessionQuery,
    Stored,
)
from mcp_server.stores.consistency import check, request_taken, turn_moved
from mcp_server.values import (
    MCPSession,
    Message,
    Receipt,
    Turn,
    TurnState,
)

_UNFINISHED = frozenset((TurnState.QUEUED, TurnState.RUNNING))


_Request = tuple[str, str, str, str]
"""The key of a turn or a receipt: tenant, scope, service and request_id."""


class _Kept:
    """What is kept of one session beside the session itself."""

    __slots__ = ("messages", "turns")

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.turns: set[str] = set()


class MemoryStore:
    """A :class:`~mcp_server.interfaces.Store` in plain dictionaries.

    A change is made at once, before the event loop gets control again. What looks through all sessions or turns
    (``expired``, ``interrupted``, ``forget``, ``counts``) takes as long as there are many.
    """

    def __init__(self) -> None:
        self._open = False
        self._sessions: dict[tuple[str, str], MCPSession] = {}
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._turns: dict[tuple[str, str], Turn] = {}
        self._events: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._requests: dict[_Request, str] = {}
        self._receipts: dict[_Request, Receipt] = {}
        # For each tenant its sessions as (create_time, uid, id), in the order in which they are listed.
        self._order: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)

    async def open(self) -> None:
        """Make ready for use."""
        self._open = True

    async def close(self) -> None:
        """Forget everything."""
        self._open = False
        for kept in (
            self._sessions,
            self._kept,
            self._turns,
            self._events,
            self._requests,
            self._receipts,
            self._order,
        ):
            kept.clear()

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read, decide and write without giving up control in between."""
        self._check_open()
        stored = self._stored(tenant, session, look_up)
        old = stored.session
        change = decide(stored)
        source = self._kept.get((tenant, change.fork_of)) if change.fork_of else None
        check(tenant, session, old, change, forked=None if source is None else len(source.messages))
        self._check_keys(change)
        read = self._kept[tenant, old.uid].messages[-change.read_last :] if old is not None and change.read_last else ()
        new = change.session
        shared: list[Message] = []
        if new is not None and source is not None:
            shared = source.messages[: new.message_count - len(change.append)]
        if old is not None and (change.delete or (new is not None and new.uid != old.uid)):
            self._remove(old)
            old = None
        if new is not None:
            if old is None:
                self._kept[tenant, new.uid] = _Kept(shared)
                bisect.insort(self._order[tenant], _position(new))
            self._sessions[tenant, session] = new
            self._kept[tenant, new.uid].messages.extend(change.append)
        if change.turn is not None:
            self._put_turn(change.turn)
            if change.events:
                self._events[tenant, change.turn.id].append(change.events)
        if change.receipt is not None:
            self._receipts[_key(change.receipt)] = change.receipt
        return Changed(change=change, stored=stored, messages=tuple(read))

    def _stored(self, tenant: str, session: str, look_up: LookUp) -> Stored:
        old = self._sessions.get((tenant, session)) if session else None

        def key(request: RequestKey | None) -> _Request | None:
            if request is None or (request.in_session and old is None):
                return None
            scope = old.uid if request.in_session and old is not None else ""
            return tenant, scope, request.service, request.request_id

        request, receipt_key = key(look_up.request), key(look_up.receipt)
        turn_id = look_up.turn if request is None else self._requests.get(request)
        turn = self._turns.get((tenant, turn_id)) if turn_id else None
        receipt = None if receipt_key is None else self._receipts.get(receipt_key)
        other = self._sessions.get((tenant, look_up.other)) if look_up.other else None
        return Stored(session=old, turn=turn, receipt=receipt, other=other)

    def _check_keys(self, change: Change) -> None:
        turn, receipt = change.turn, change.receipt
        if turn is not None:
            old = self._turns.get((turn.tenant, turn.id))
            if old is None:
                if turn.request_id and _request(turn) in self._requests:
                    raise request_taken(turn)
            elif _request(turn) != _request(old):
                raise turn_moved(turn)
        if receipt is not None and _key(receipt) in self._receipts:
            raise request_taken(receipt)

    def _put_turn(self, turn: Turn) -> None:
        self._turns[turn.tenant, turn.id] = turn
        if turn.request_id:
            self._requests[_request(turn)] = turn.id
        if turn.session_uid:
            self._kept[turn.tenant, turn.session_uid].turns.add(turn.id)

    def _forget_turn(self, tenant: str, turn_id: str) -> Turn:
        turn = self._turns.pop((tenant, turn_id))
        self._events.pop((tenant, turn_id), None)
        if turn.request_id:
            del self._requests[_request(turn)]
        return turn

    def _remove(self, session: MCPSession) -> None:
        tenant = session.tenant
        del self._sessions[tenant, session.id]
        for turn in self._kept.pop((tenant, session.uid)).turns:
            self._forget_turn(tenant, turn)
        order = self._order[tenant]
        del order[bisect.bisect_left(order, _position(session))]
        if not order:
            del self._order[tenant]

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id."""
        self._check_open()
        return self._sessions.get((tenant, session))

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that fit."""
        self._check_open()
        found: list[MCPSession] = []
        if query.limit < 1:
            return found
        for session in self._listed(query):
            if not session.expired(query.now) and query.labels.items() <= session.labels.items():
                found.append(msgspec.structs.replace(session, context={}, metadata={}))
                if len(found) == query.limit:
                    break
        return found

    def _listed(self, query: SessionQuery) -> Iterator[MCPSession]:
        order = self._order.get(query.tenant, [])
        if query.newest_first:
            start = len(order) if query.after is None else bisect.bisect_left(order, query.after, key=_age)
            indices = range(start - 1, -1, -1)
        else:
            start = 0 if query.after is None else bisect.bisect_right(order, query.after, key=_age)
            indices = range(start, len(order))
        for index in indices:
            yield self._sessions[query.tenant, order[index][2]]

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """A range of a history."""
        self._check_open()
        kept = self._kept.get((tenant, uid))
        return [] if kept is None else kept.messages[max(start, 0) : max(stop, 0)]

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        self._check_open()
        return self._turns.get((tenant, turn))

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """Turns of a session, the greatest id first."""
        self._check_open()
        kept = self._kept.get((tenant, uid))
        ids = [] if kept is None else sorted([turn for turn in kept.turns if not before or turn < before], reverse=True)
        return [self._turns[tenant, turn] for turn in ids[:limit]]

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of the log of a turn."""
        self._check_open()
        return tuple(self._events.get((tenant, turn), ()))

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Sessions whose time has passed, the oldest first."""
        self._check_open()
        past = sorted([(s.expire_time or 0, s.tenant, s.id) for s in self._sessions.values() if s.expired(now)])
        return [(tenant, session) for _, tenant, session in past[:limit]]

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Turns that another process left behind."""
        self._check_open()
        return [turn for turn in self._turns.values() if turn.state in _UNFINISHED and turn.owner != owner][:limit]

    async def forget(self, before: int, limit: int, /) -> int:
        """Remove turns that ended, and receipts that were written, long ago."""
        self._check_open()
        old = [turn for turn in self._turns.values() if turn.end_time is not None and turn.end_time < before][:limit]
        for turn in old:
            self._forget_turn(turn.tenant, turn.id)
            if turn.session_uid:
                self._kept[turn.tenant, turn.session_uid].turns.discard(turn.id)
        receipts = [key for key, receipt in self._receipts.items() if receipt.create_time < before][:limit]
        for key in receipts:
            del self._receipts[key]
        return len(old) + len(receipts)

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """How many sessions there are."""
        self._check_open()
        return {"sessions": sum(not session.expired(now) for session in self._sessions.values())}

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the store is closed")


def _request(turn: Turn) -> _Request:
    return turn.tenant, turn.session_uid, turn.service, turn.request_id


def _key(receipt: Receipt) -> _Request:
    return receipt.tenant, receipt.scope, receipt.service, receipt.request_id


def _position(session: MCPSession) -> tuple[int, str, str]:
    return session.create_time, session.uid, session.id


def _age(position: tuple[int, str, str]) -> tuple[int, str]:
    return position[:2]
