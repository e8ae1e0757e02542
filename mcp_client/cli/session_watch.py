"""The command ``mcp-client sessions watch``."""

from __future__ import annotations

from mcp_client import (
    MCPClient,
    MessagesAppended,
    SessionCurrent,
    SessionEvent,
    SessionRewound,
    SessionUpdated,
    TurnChanged,
)
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.options import AsJson
from mcp_client.cli.output import fields_of, print_json_line
from mcp_client.cli.run import run_client
from mcp_client.cli.selection import Last, OptionalSessionName, find_session
from mcp_client.cli.terminal import printable


@connecting
def watch(
    session: OptionalSessionName = "", last: Last = False, as_json: AsJson = False, *, connection: Connection
) -> None:
    """Print what happens to a session, a line for each event, until it is deleted."""

    async def run(client: MCPClient) -> None:
        async with client.watch_session(await find_session(client, session, last=last)) as watching:
            async for event in watching:
                if as_json:
                    print_json_line({"event": type(event).__name__, **fields_of(event)})
                else:
                    print(printable(_line(event)), flush=True)

    run_client(connection, run)


def _line(event: SessionEvent) -> str:
    """What has happened, in one line."""
    if isinstance(event, SessionCurrent):
        count = event.session.message_count
        turns = "".join([f", {turn.name} {turn.state}" for turn in event.turns])
        return f"{event.session.name}: {count} {'message' if count == 1 else 'messages'}{turns}"
    if isinstance(event, TurnChanged):
        return f"{event.turn.name} {event.turn.state}"
    if isinstance(event, MessagesAppended):
        return f"messages {event.first_index} to {event.message_count - 1} appended"
    if isinstance(event, SessionRewound):
        return f"rewound to {event.message_count} messages"
    return "updated" if isinstance(event, SessionUpdated) else "deleted"
