"""Values and steps for the tests of stores."""

from __future__ import annotations

from typing import Any

import msgspec

from mcp_server.interfaces import NO_LOOK_UP, Change, Changed, LookUp, SessionQuery, Store, Stored
from mcp_server.values import (
    Claim,
    MCPSession,
    Message,
    Receipt,
    Role,
    Text,
    Turn,
    TurnState,
)

replace = msgspec.structs.replace

NOW = 1_800_000_000_000_000_000
"""The time at which these tests play."""


def session(id: str = "s", **fields: Any) -> MCPSession:
    """A session, made at ``NOW`` unless said otherwise; its uid follows from its id."""
    defaults: dict[str, Any] = {"tenant": "t", "uid": f"uid-{id}", "create_time": NOW, "update_time": NOW, "etag": "e0"}
    return MCPSession(id=id, **{**defaults, **fields})


def turn(id: str = "turn", **fields: Any) -> Turn:
    """A turn that runs, without a session."""
    defaults: dict[str, Any] = {
        "tenant": "t",
        "service": "chat",
        "state": TurnState.RUNNING,
        "create_time": NOW,
        "owner": "me",
    }
    return Turn(id=id, **{**defaults, **fields})


def receipt(request_id: str = "r", **fields: Any) -> Receipt:
    """What was written down of the creation of a session, made at ``NOW``."""
    defaults: dict[str, Any] = {"tenant": "t", "service": "session", "session": "s", "session_uid": "uid-s"}
    return Receipt(request_id=request_id, **{"create_time": NOW, **defaults, **fields})


def claim(turn: str = "turn", **fields: Any) -> Claim:
    """A claim that holds for a second."""
    return Claim(turn=turn, **{"owner": "me", "fence": 1, "expire_time": NOW + 1_000_000_000, **fields})


def messages(first: int, *texts: str) -> tuple[Message, ...]:
    """Messages with these texts, their indices from ``first``."""
    return tuple(
        Message(role=Role.USER, parts=(Text(text=text),), index=index, id=f"m{index}", create_time=NOW)
        for index, text in enumerate(texts, first)
    )


async def put(store: Store, session: MCPSession) -> Changed:
    """Write a session as it is."""
    return await store.change(session.tenant, session.id, lambda _: Change(session=session))


async def update(store: Store, session: str, *, read_last: int = 0, **fields: Any) -> Changed:
    """Change fields of a session."""

    def decide(stored: Stored) -> Change:
        assert stored.session is not None
        return Change(session=replace(stored.session, **fields), read_last=read_last)

    return await store.change("t", session, decide)


async def append(store: Store, session: str, *texts: str, tenant: str = "t", turn: Turn | None = None) -> Changed:
    """Add messages to the end of a history."""

    def decide(stored: Stored) -> Change:
        old = stored.session
        assert old is not None
        count = old.message_count
        new = replace(old, message_count=count + len(texts))
        return Change(session=new, append=messages(count, *texts), turn=turn)

    return await store.change(tenant, session, decide)


async def delete(store: Store, session: str, tenant: str = "t") -> Changed:
    """Remove a session."""
    return await store.change(tenant, session, lambda _: Change(delete=True))


async def put_turn(store: Store, turn: Turn, events: bytes = b"") -> Changed:
    """Write a turn, with or without a session, and a piece of its log."""
    return await store.change(turn.tenant, turn.session, lambda _: Change(turn=turn, events=events))


async def put_receipt(store: Store, receipt: Receipt) -> Changed:
    """Write a receipt."""
    return await store.change(receipt.tenant, receipt.session, lambda _: Change(receipt=receipt))


async def fork(store: Store, parent: str, child: str, count: int, *texts: str) -> Changed:
    """Begin a session with the first ``count`` messages of another, and more of its own."""

    def decide(stored: Stored) -> Change:
        assert stored.other is not None
        new = session(child, parent=parent, message_count=count + len(texts))
        return Change(session=new, fork_of=stored.other.uid, append=messages(count, *texts))

    return await store.change("t", child, decide, LookUp(other=parent))


async def look(store: Store, session: str = "s", look_up: LookUp = NO_LOOK_UP, *, tenant: str = "t") -> Stored:
    """What a change finds; it writes nothing."""
    return (await store.change(tenant, session, lambda _: Change(), look_up)).stored


async def texts(store: Store, uid: str, start: int = 0, stop: int = 1_000_000, *, tenant: str = "t") -> list[str]:
    """What a range of a history says."""
    return [message.text for message in await store.messages(tenant, uid, start, stop)]


def query(**fields: Any) -> SessionQuery:
    """A list of the tenant's sessions at ``NOW``."""
    return SessionQuery(**{"tenant": "t", "now": NOW, "limit": 100, **fields})


async def listed(store: Store, **fields: Any) -> list[str]:
    """The ids of the sessions that fit a query."""
    return [session.id for session in await store.sessions(query(**fields))]
