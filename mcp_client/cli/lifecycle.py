"""Creates the session of a chat when it starts, and deletes it if it has no messages."""

from __future__ import annotations

import contextlib

from mcp_client import MCPClient, MCPError, Session, SessionExists, SessionNotFound
from mcp_client.cli.state import remember_session


async def open_session(
    client: MCPClient, name: str | None, *, system: str = "", ttl: float | None = None
) -> tuple[Session, bool]:
    """Get the session of this name, or create it; without a name, create a new one.

    Returns the session, and whether it is new.
    """
    opened, is_new = await _open(client, name, system, ttl)
    remember_session(client.address, opened.id)
    return opened, is_new


def require_settings(session: Session, *, system: str, ttl: float | None) -> None:
    """Check that an existing session has the settings that the options ask for.

    Raises:
        ValueError: one is different.
    """
    if system and system != session.system_instruction:
        option, value = "--system", "TEXT"
    elif ttl is not None and ttl != session.ttl:
        option, value = "--ttl", "SECONDS"
    else:
        return
    raise ValueError(
        f"session {session.id} exists, and {option} is for new ones; to change it: "
        f"mcp-client sessions update {session.id} {option} {value}"
    )


async def delete_if_empty(client: MCPClient, session: Session) -> None:
    """Delete a session that has no messages."""
    # Best effort: an empty session that cannot be deleted now expires.
    with contextlib.suppress(MCPError):
        session = await client.get_session(session, timeout=2)
        if not session.message_count:
            await client.delete_session(session, etag=session.etag, timeout=2)


async def _open(client: MCPClient, name: str | None, system: str, ttl: float | None) -> tuple[Session, bool]:
    if name is None:
        return await client.create_session(system_instruction=system, ttl=ttl), True
    try:
        return await client.get_session(name), False
    except SessionNotFound:
        try:
            return await client.create_session(name.removeprefix("sessions/"), system_instruction=system, ttl=ttl), True
        except SessionExists:  # created by another client at the same moment
            return await client.get_session(name), False
