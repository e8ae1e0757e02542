"""The command ``mcp-client logs``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import typer

from mcp_client import MCPClient, Message, SessionNotFound
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.options import AsJson
from mcp_client.cli.output import fields_of, local_time, print_json
from mcp_client.cli.run import first, run_client
from mcp_client.cli.selection import find_session
from mcp_client.cli.terminal import printable


@connecting
def logs(
    query: Annotated[
        str,
        typer.Option("--query", "-q", metavar="TEXT", help="Only messages that contain this, in any case of letters."),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The maximum number of messages.")] = 10,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only of this session: its name, a beginning of it, or @last.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Print messages of all sessions, or search them: the newest session first, and its last message first.

    The messages are read from the server one session after the other until enough are found.
    """

    async def run(client: MCPClient) -> None:
        only = await find_session(client, session) if session is not None else None
        found = await first(limit, _matching(client, query.casefold(), only))
        if as_json:
            print_json([{"session": name, **fields_of(message)} for name, message in found])
            return
        for name, message in found:
            time = local_time(message.create_time)
            print(printable(f"{name.removeprefix('sessions/')} · {message.index} · {message.role} · {time}"))
            print(printable(f"{message.text}\n"))

    run_client(connection, run)


async def _matching(client: MCPClient, query: str, only: str | None) -> AsyncIterator[tuple[str, Message]]:
    """The messages with a text that contains the query, with the names of their sessions."""
    if only is not None:
        names = [only]
    else:
        names = [
            each.name async for each in client.list_sessions(newest_first=True, page_size=1000) if each.message_count
        ]
    for name in names:
        try:
            async for message in client.list_messages(name, newest_first=True, page_size=1000):
                if message.text and query in message.text.casefold():
                    yield name, message
        except SessionNotFound:  # deleted meanwhile
            continue
