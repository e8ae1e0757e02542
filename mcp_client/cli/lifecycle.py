"""Creates the session of a chat when it starts, and deletes it if nothing was said."""

from __future__ import annotations

import contextlib

from mcp_client import MCPClient, MCPError, Session, SessionExists, SessionNotFound


async def open_session(client: MCPClient, name: str | None, system: str) -> Session:
    """Get the session of this name, or create it; without a name, create a new one."""
    if name is None:
        return await client.create_session(system_instruction=system)
    try:
        return await client.get_session(name)
    except SessionNotFound:
        try:
            return await client.create_session(name.removeprefix("sessions/"), system_instruction=system)
        except SessionExists:  # created by another client at the same moment
            return await client.get_session(name)


async def delete_if_empty(client: MCPClient, session: Session) -> None:
    """Delete a session that has no messages."""
    # Best effort: an empty session that cannot be deleted now expires.
    with contextlib.suppress(MCPError):
        session = await client.get_session(session, timeout=2)
        if not session.message_count:
            await client.delete_session(session, etag=session.etag, timeout=2)
