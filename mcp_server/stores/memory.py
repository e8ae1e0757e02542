"""Stores everything in the memory of this process: for tests and throw-away use. Nothing survives the process."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import (
    NO_LOOK_UP,
    Account,
    AccountQuery,
    Change,
    Changed,
    Decide,
    LookUp,
    RequestKey,
    SessionQuery,
    Stored,
    UsageQuery,
)
from mcp_server.stores.consistency import check, request_taken, turn_moved
from mcp_server.stores.memory_accounts import MemoryAccounts
from mcp_server.values import UNFINISHED, Key, MCPSession, Message, Receipt, Turn, UsageSum

_encode = msgspec.msgpack.Encoder().encode

_TurnKey = tuple[str, str]
"""Tenant and id of a turn."""
_RequestIndex = tuple[str, str, str, str]
"""Tenant, scope, service and request_id of a turn or a receipt."""


class _Contents:
    """The messages of a session, and the ids of its turns."""

    __slots__ = ("messages", "turns")

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.turns: set[str] = set()


class MemoryStore:
    """An :class:`~mcp_server.interfaces.AccountStore` in plain dictionaries, for one server.

    A change never awaits, so it is atomic on its event loop. ``expired``, ``forget`` and ``counts`` take time
    proportional to what is stored; ``interrupted`` to the number of unfinished turns.
    """

    def __init__(self) -> None:
        self._open = False
        self._sessions: dict[tuple[str, str], MCPSession] = {}
        self._contents: dict[tuple[str, str], _Contents] = {}
        self._turns: dict[_TurnKey, Turn] = {}
        # The keys of the unfinished turns, the oldest first.
        self._unfinished: dict[_TurnKey, None] = {}
        self._events: defaultdict[_TurnKey, list[bytes]] = defaultdict(list)
        self._requests: dict[_RequestIndex, str] = {}
        self._receipts: dict[_RequestIndex, Receipt] = {}
        # For each tenant its sessions as (create_time, uid, id), in the order in which they are listed.
        self._order: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
        self._accounts = MemoryAccounts()

    async def open(self) -> None:
        """Make ready for use."""
        self._open = True

    async def close(self) -> None:
        """Forget everything."""
        self._open = False
        for table in (
            self._sessions,
            self._contents,
            self._turns,
            self._unfinished,
            self._events,
            self._requests,
            self._receipts,
            self._order,
            self._accounts,
        ):
            table.clear()

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read, decide and write without awaiting in between."""
        self._check_open()
        stored = self._stored(tenant, session, look_up)
        old = stored.session
        change = decide(stored)
        source = self._contents.get((tenant, change.fork_of)) if change.fork_of else None
        check(tenant, session, old, change, forked=None if source is None else len(source.messages))
        self._check_keys(change)
        tail: Sequence[Message] = ()
        if old is not None and change.read_last:
            tail = self._contents[tenant, old.uid].messages[-change.read_last :]
        new = change.session
        shared: list[Message] = []
        if new is not None and source is not None:
            shared = source.messages[: new.message_count - len(change.append)]
        if old is not None and (change.delete or (new is not None and new.uid != old.uid)):
            self._delete(old)
            old = None
        if new is not None:
            if old is None:
                self._contents[tenant, new.uid] = _Contents(shared)
                bisect.insort(self._order[tenant], _position(new))
            self._sessions[tenant, session] = new
            messages = self._contents[tenant, new.uid].messages
            if change.rewind is not None:
                del messages[change.rewind :]
            messages.extend(change.append)
        if change.turn is not None:
            self._put_turn(change.turn)
            if change.events:
                self._events[tenant, change.turn.id].append(change.events)
        if change.receipt is not None:
            self._receipts[_receipt_index(change.receipt)] = change.receipt
        self._accounts.write(tenant, change)
        return Changed(change=change, stored=stored, messages=tuple(tail))

    def _now(self) -> int | None:
        """The time for decisions; ``None`` since this store belongs to one server."""
        return None

    def _stored(self, tenant: str, session: str, look_up: LookUp) -> Stored:
        old = self._sessions.get((tenant, session)) if session else None

        def index(request: RequestKey | None) -> _RequestIndex | None:
            if request is None or (request.in_session and old is None):
                return None
            scope = old.uid if request.in_session and old is not None else ""
            return tenant, scope, request.service, request.request_id

        request, receipt = index(look_up.request), index(look_up.receipt)
        turn = look_up.turn if request is None else self._requests.get(request)
        return Stored(
            session=old,
            turn=self._turns.get((tenant, turn)) if turn else None,
            receipt=None if receipt is None else self._receipts.get(receipt),
            other=self._sessions.get((tenant, look_up.other)) if look_up.other else None,
            holder=self._turns.get((tenant, old.claim)) if look_up.holder and old and old.claim else None,
            accounts=tuple([self._account(tenant, query) for query in look_up.accounts]),
            now=self._now(),
        )

    def _account(self, tenant: str, query: AccountQuery) -> Account:
        account = self._accounts.read(tenant, query)
        if not query.stored:
            return account
        count, size, seen = 0, 0, set[int]()
        for _, _, name in self._order.get(tenant, ()):
            session = self._sessions[tenant, name]
            contents = self._contents[tenant, session.uid]
            # A message that sessions share counts for the oldest of them.
            own = [message for message in contents.messages if id(message) not in seen]
            seen.update(map(id, own))
            if query.key in ("", session.key):
                count += 1
                size += len(_encode((session.context, session.metadata, own)))
        return msgspec.structs.replace(account, sessions=count, stored_bytes=size)

    def _check_keys(self, change: Change) -> None:
        turn, receipt = change.turn, change.receipt
        if turn is not None:
            old = self._turns.get((turn.tenant, turn.id))
            if old is None:
                if turn.request_id and _turn_index(turn) in self._requests:
                    raise request_taken(turn)
            elif _turn_index(turn) != _turn_index(old):
                raise turn_moved(turn)
        if receipt is not None and _receipt_index(receipt) in self._receipts:
            raise request_taken(receipt)

    def _put_turn(self, turn: Turn) -> None:
        key = turn.tenant, turn.id
        self._turns[key] = turn
        if turn.state in UNFINISHED:
            self._unfinished[key] = None
        else:
            self._unfinished.pop(key, None)
        if turn.request_id:
            self._requests[_turn_index(turn)] = turn.id
        if turn.session_uid:
            self._contents[turn.tenant, turn.session_uid].turns.add(turn.id)

    def _delete_turn(self, key: _TurnKey) -> None:
        turn = self._turns.pop(key)
        self._unfinished.pop(key, None)
        self._events.pop(key, None)
        if turn.request_id:
            del self._requests[_turn_index(turn)]

    def _delete(self, session: MCPSession) -> None:
        tenant = session.tenant
        del self._sessions[tenant, session.id]
        for turn in self._contents.pop((tenant, session.uid)).turns:
            self._delete_turn((tenant, turn))
        order = self._order[tenant]
        del order[bisect.bisect_left(order, _position(session))]
        if not order:
            del self._order[tenant]

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id."""
        self._check_open()
        return self._sessions.get((tenant, session))

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that match the query."""
        self._check_open()
        page: list[MCPSession] = []
        if query.limit < 1:
            return page
        for session in self._in_order(query):
            if not session.expired(query.now) and query.labels.items() <= session.labels.items():
                page.append(msgspec.structs.replace(session, context={}, metadata={}, hidden_turns=()))
                if len(page) == query.limit:
                    break
        return page

    def _in_order(self, query: SessionQuery) -> Iterator[MCPSession]:
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
        """A range of a session's history."""
        self._check_open()
        contents = self._contents.get((tenant, uid))
        return [] if contents is None else contents.messages[max(start, 0) : max(stop, 0)]

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        self._check_open()
        return self._turns.get((tenant, turn))

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """The turns of a session, greatest id first."""
        self._check_open()
        contents = self._contents.get((tenant, uid))
        if contents is None:
            return []
        ids = sorted([turn for turn in contents.turns if not before or turn < before], reverse=True)
        return [self._turns[tenant, turn] for turn in ids[:limit]]

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of a turn's log."""
        self._check_open()
        return tuple(self._events.get((tenant, turn), ()))

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Sessions that have expired, oldest first."""
        self._check_open()
        past = sorted([(s.expire_time or 0, s.tenant, s.id) for s in self._sessions.values() if s.expired(now)])
        return [(tenant, session) for _, tenant, session in past[:limit]]

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Unfinished turns whose lease another process has, or nobody."""
        self._check_open()
        turns = map(self._turns.__getitem__, self._unfinished)
        return [turn for turn in turns if turn.lease is None or turn.lease.owner != owner][:limit]

    async def forget(self, before: int, limit: int, /) -> int:
        """Delete old turns and receipts."""
        self._check_open()
        turns = self._turns.values()
        old = [turn for turn in turns if (since := turn.retained_since) is not None and since < before][:limit]
        for turn in old:
            self._delete_turn((turn.tenant, turn.id))
            if turn.session_uid:
                self._contents[turn.tenant, turn.session_uid].turns.discard(turn.id)
        receipts = [key for key, receipt in self._receipts.items() if receipt.create_time < before][:limit]
        for key in receipts:
            del self._receipts[key]
        return len(old) + len(receipts)

    async def usage(self, query: UsageQuery, /) -> Sequence[UsageSum]:
        """The sums of the usage ledger by group."""
        self._check_open()
        return self._accounts.usage(query)

    async def change_key(self, key: str, decide: Callable[[Key | None], Key], /) -> Key:
        """Read, decide and write an API key without awaiting in between."""
        self._check_open()
        new = self._accounts.keys[key] = decide(self._accounts.keys.get(key))
        return new

    async def key(self, key: str, /) -> Key | None:
        """The API key with that id."""
        self._check_open()
        return self._accounts.keys.get(key)

    async def keys(self, tenant: str, limit: int, after: tuple[int, str] | None, /) -> Sequence[Key]:
        """The API keys of a tenant, oldest first."""
        self._check_open()
        keys = [key for key in self._accounts.keys.values() if key.tenant == tenant]
        keys = [key for key in keys if after is None or (key.create_time, key.id) > after]
        return sorted(keys, key=lambda key: (key.create_time, key.id))[:limit]

    async def secret(self, name: str, /) -> bytes:
        """The secret of that name."""
        self._check_open()
        return self._accounts.secret(name)

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """The number of sessions."""
        self._check_open()
        return {"sessions": sum(not session.expired(now) for session in self._sessions.values())}

    def _check_open(self) -> None:
        if not self._open:
            raise StoreUnavailable("the store is closed")


def _turn_index(turn: Turn) -> _RequestIndex:
    return turn.tenant, turn.session_uid, turn.service, turn.request_id


def _receipt_index(receipt: Receipt) -> _RequestIndex:
    return receipt.tenant, receipt.scope, receipt.service, receipt.request_id


def _position(session: MCPSession) -> tuple[int, str, str]:
    return session.create_time, session.uid, session.id


def _age(position: tuple[int, str, str]) -> tuple[int, str]:
    return position[:2]
