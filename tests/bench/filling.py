"""Fills the file of a store with sessions: through the store itself, past the server, many at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from mcp_server.interfaces import Change
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.values import MCPSession, Message, Role, Text

TENANT: Final = "default"
AT_ONCE: Final = 256
"""Sessions that are on their way at a time: as many as the store commits together."""
PIECE: Final = 1_000
"""Messages of one change."""
TEXT: Final = "The quick brown fox jumps over the lazy dog. " * 2


async def fill(path: Path, *, sessions: int, messages: int) -> list[str]:
    """Add ``sessions`` sessions with ``messages`` messages each to the file, and return their full names."""
    now = time.time_ns()
    history = tuple([_message(index, now) for index in range(messages)])
    store = SQLiteStore(path)
    await store.open()
    try:
        names: list[str] = []
        while len(names) < sessions:
            number = min(AT_ONCE, sessions - len(names))
            names += await asyncio.gather(*[_add(store, history) for _ in range(number)])
        return names
    finally:
        await store.close()


async def _add(store: SQLiteStore, history: tuple[Message, ...]) -> str:
    now = time.time_ns()
    session = MCPSession(
        tenant=TENANT,
        id=_id("s"),
        uid=_id("u"),
        create_time=now,
        update_time=now,
        etag=f"{now:x}",
        labels={"team": "blue"},
    )
    for first in range(0, max(len(history), 1), PIECE):
        piece = history[first : first + PIECE]
        session = msgspec.structs.replace(session, message_count=first + len(piece))
        change = Change(session=session, append=piece)
        await store.change(TENANT, session.id, lambda _, change=change: change)  # type: ignore[misc]  # bound here
    return session.name


def _id(prefix: str) -> str:
    """Sorts by time, as the server's do, so that the rows lie as it would have them."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def _message(index: int, now: int) -> Message:
    role = Role.ASSISTANT if index % 2 else Role.USER
    return Message(role=role, parts=(Text(text=TEXT),), index=index, id=f"m{index}", create_time=now)
