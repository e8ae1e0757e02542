"""Finds the session that a command is about: by its name, the beginning of it, or as the one used last."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from mcp_client import MCPClient, SessionNotFound
from mcp_client.cli.state import last_session

LAST_NAME: Final = "@last"
"""Stands for the session used last, where a command expects a name."""
_SHOWN: Final = 5
_HELP: Final = f"The session: its name, a unique beginning of it, or {LAST_NAME}."

SessionName = Annotated[str, typer.Argument(metavar="NAME", help=_HELP, show_default=False)]
OptionalSessionName = Annotated[str, typer.Argument(metavar="[NAME]", help=_HELP, show_default=False)]
Last = Annotated[bool, typer.Option("--last", help="The session that you used last, like the name @last.")]


async def find_session(client: MCPClient, name: str, *, last: bool = False) -> str:
    """The full name of an existing session.

    Raises:
        SessionNotFound: no session has the name, or begins with it.
        ValueError: no name is given, several sessions begin with it, or no session was used before.
    """
    if last and name:
        raise ValueError("--last and NAME: choose one")
    if last or name == LAST_NAME:
        name = last_session(client.address)
    elif not name:
        raise ValueError("expected the NAME of a session, or --last")
    try:
        return (await client.get_session(name)).name
    except SessionNotFound:
        start = f"sessions/{name.removeprefix('sessions/')}"
        found = [each async for each in client.list_sessions(page_size=1000) if each.name.startswith(start)]
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join([each.id for each in found[:_SHOWN]]) + (", …" if len(found) > _SHOWN else "")
        raise ValueError(f"{name} is the beginning of {len(found)} names: {ids}")
    return found[0].name
