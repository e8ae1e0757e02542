"""Values for tests of stores, and short ways to write and read them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.interfaces import NO_LOOK_UP, Change, Changed, LookUp, SessionQuery, Store, Stored
from mcp_server.values import (
    UNFINISHED,
    Lease,
    MCPSession,
    Message,
    Receipt,
    Role,
    Text,
    Turn,
    TurnState,
)

replace = msgspec.structs.replace

NOW: Final = 1_800_000_000_000_000_000
"""The time of the caller in these tests. It is not the time of the store."""


def session(id: str = "s", **fields: Any) -> MCPSession:
    """A session that was created at ``NOW``, with a uid that is derived from its id."""
    defaults: dict[str, Any] = {"tenant": "t", "uid": f"uid-{id}", "create_time": NOW, "update_time": NOW, "etag": "e0"}
    return MCPSession(id=id, **{**defaults, **fields})


def turn(id: str = "turn", **fields: Any) -> Turn:
    """A running turn of the process ``me``, without a session."""
    defaults: dict[str, Any] = {
        "tenant": "t",
        "service": "chat",
        "state": TurnState.RUNNING,
        "create_time": NOW,
        "lease": lease(),
    }
    if fields.get("state", TurnState.RUNNING) not in UNFINISHED:
        defaults["lease"] = None
    return Turn(id=id, **{**defaults, **fields})


def receipt(request_id: str = "r", **fields: Any) -> Receipt:
    """The receipt of the creation of a session at ``NOW``."""
    defaults: dict[str, Any] = {"tenant": "t", "service": "session", "session": "s", "session_uid": "uid-s"}
    return Receipt(request_id=request_id, **{"create_time": NOW, **defaults, **fields})


def lease(owner: str = "me", **fields: Any) -> Lease:
    """A lease that does not end, as in an exclusive store."""
    return Lease(owner=owner, **fields)


def finished(turn: Turn, state: TurnState = TurnState.SUCCEEDED, end_time: int = NOW) -> Turn:
    """The turn when it has ended, without its lease."""
    return replace(turn, state=state, end_time=end_time, lease=None)


def messages(first: int, *texts: str) -> tuple[Message, ...]:
    """Messages with these texts, their indices from ``first``."""
    return tuple(
        Message(role=Role.USER, parts=(Text(text=text),), index=index, id=f"m{index}", create_time=NOW)
        for index, text in enumerate(texts, first)
    )


async def put(store: Store, session: MCPSession) -> Changed:
    """Write a session."""
    return await store.change(session.tenant, session.id, lambda _: Change(session=session))


async def update(store: Store, session: str, *, read_last: int = 0, **fields: Any) -> Changed:
    """Change fields of a session."""

    def decide(stored: Stored) -> Change:
        assert stored.session is not None
        return Change(session=replace(stored.session, **fields), read_last=read_last)

    return await store.change("t", session, decide)


async def append(store: Store, session: str, *texts: str, tenant: str = "t", turn: Turn | None = None) -> Changed:
    """Add messages to the end of a session's history."""

    def decide(stored: Stored) -> Change:
        old = stored.session
        assert old is not None
        count = old.message_count
        new = replace(old, message_count=count + len(texts))
        return Change(session=new, append=messages(count, *texts), turn=turn)

    return await store.change(tenant, session, decide)


async def rewind(store: Store, session: str, count: int) -> Changed:
    """Keep only the first messages of a session's history."""

    def decide(stored: Stored) -> Change:
        assert stored.session is not None
        return Change(session=replace(stored.session, message_count=count), rewind=count)

    return await store.change("t", session, decide)


async def delete(store: Store, session: str, tenant: str = "t") -> Changed:
    """Delete a session."""
    return await store.change(tenant, session, lambda _: Change(delete=True))


async def put_turn(store: Store, turn: Turn, events: bytes = b"") -> Changed:
    """Write a turn and a piece of its log."""
    return await store.change(turn.tenant, turn.session, lambda _: Change(turn=turn, events=events))


async def put_receipt(store: Store, receipt: Receipt) -> Changed:
    """Write a receipt."""
    return await store.change(receipt.tenant, receipt.session, lambda _: Change(receipt=receipt))


async def fork(store: Store, parent: str, child: str, count: int, *texts: str) -> Changed:
    """Create a session with the first ``count`` messages of another and further ones of its own."""

    def decide(stored: Stored) -> Change:
        assert stored.other is not None
        new = session(child, parent=parent, message_count=count + len(texts))
        return Change(session=new, fork_of=stored.other.uid, append=messages(count, *texts))

    return await store.change("t", child, decide, LookUp(other=parent))


async def look(store: Store, session: str = "s", look_up: LookUp = NO_LOOK_UP, *, tenant: str = "t") -> Stored:
    """What a decision gets to see, without the time of the store. Writes nothing."""
    return replace((await store.change(tenant, session, lambda _: Change(), look_up)).stored, now=None)


async def texts(store: Store, uid: str, start: int = 0, stop: int = 1_000_000, *, tenant: str = "t") -> list[str]:
    """The texts of a range of a history."""
    return [message.text for message in await store.messages(tenant, uid, start, stop)]


def query(**fields: Any) -> SessionQuery:
    """A query for the sessions of a tenant at ``NOW``."""
    return SessionQuery(**{"tenant": "t", "now": NOW, "limit": 100, **fields})


async def listed(store: Store, **fields: Any) -> list[str]:
    """The ids of the sessions that match a query."""
    return [session.id for session in await store.sessions(query(**fields))]
