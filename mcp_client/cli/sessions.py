"""The commands ``mcp-client sessions``."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer

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
from mcp_client.cli.failures import pairs
from mcp_client.cli.options import AsJson, Limit, ModelOption, SessionName
from mcp_client.cli.output import local_time, print_json, print_json_line, print_table
from mcp_client.cli.run import first, run_client
from mcp_client.cli.terminal import printable

app = typer.Typer(help="List, show and change sessions.", no_args_is_help=True)


@app.command("list")
@connecting
def list_sessions(
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only sessions with this label; can be repeated.", show_default=False),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """List sessions, newest first."""
    labels = pairs(label, "--label")

    async def run(client: MCPClient) -> None:
        found = await first(limit, client.list_sessions(labels=labels, newest_first=True, page_size=min(limit, 1000)))
        if as_json:
            print_json(found)
            return
        print_table(
            ("SESSION", "MESSAGES", "CREATED", "EXPIRES", "LABELS"),
            [
                (
                    session.id,
                    str(session.message_count),
                    local_time(session.create_time),
                    local_time(session.expire_time),
                    ", ".join(f"{key}={value}" for key, value in sorted(session.labels.items())),
                )
                for session in found
            ],
        )

    run_client(connection, run)


@app.command()
@connecting
def create(
    session: Annotated[str, typer.Argument(metavar="[NAME]", help="Its id. Default: the server generates one.")] = "",
    system: Annotated[str, typer.Option(metavar="TEXT", help="The system instruction.", show_default=False)] = "",
    model: ModelOption = "",
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; can be repeated.", show_default=False)
    ] = None,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long it is kept unused.", show_default=False)
    ] = None,
    *,
    connection: Connection,
) -> None:
    """Create a session and print its id."""
    labels = pairs(label, "--label")

    async def run(client: MCPClient) -> None:
        created = await client.create_session(
            session, system_instruction=system, default_model=model, labels=labels, ttl=ttl
        )
        print(created.id)

    run_client(connection, run)


@app.command()
@connecting
def show(session: SessionName, *, connection: Connection) -> None:
    """Print a session as JSON."""

    async def run(client: MCPClient) -> None:
        print_json(await client.get_session(session))

    run_client(connection, run)


@app.command()
@connecting
def messages(
    session: SessionName,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number to print, the last ones.")] = 50,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Print the last messages of a session."""

    async def run(client: MCPClient) -> None:
        found = await first(limit, client.list_messages(session, newest_first=True, page_size=min(limit, 1000)))
        found.reverse()
        if as_json:
            print_json(found)
            return
        for message in found:
            print(printable(f"{message.role}: {message.text}"))

    run_client(connection, run)


@app.command()
@connecting
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The sessions.")],
    *,
    connection: Connection,
) -> None:
    """Delete sessions with their history."""

    async def run(client: MCPClient) -> None:
        for name in names:
            await client.delete_session(name)

    run_client(connection, run)


@app.command()
@connecting
def fork(
    session: Annotated[str, typer.Argument(metavar="NAME", help="The session to fork.")],
    new: Annotated[
        str, typer.Argument(metavar="[NEW]", help="The id of the new session. Default: the server generates one.")
    ] = "",
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="N", help="Copy only the first N messages.", show_default=False),
    ] = None,
    *,
    connection: Connection,
) -> None:
    """Create a session with the history of another one, and print its id."""

    async def run(client: MCPClient) -> None:
        print((await client.fork_session(session, new, message_count=at)).id)

    run_client(connection, run)


@app.command()
@connecting
def rewind(
    session: SessionName,
    keep: Annotated[int, typer.Argument(metavar="N", min=0, help="How many messages to keep, from the first.")],
    *,
    connection: Connection,
) -> None:
    """Remove all messages of a session but the first N."""

    async def run(client: MCPClient) -> None:
        await client.rewind_session(session, keep)

    run_client(connection, run)


@app.command()
@connecting
def watch(session: SessionName, as_json: AsJson = False, *, connection: Connection) -> None:
    """Print what happens to a session, a line for each event, until it is deleted."""

    async def run(client: MCPClient) -> None:
        async with client.watch_session(session) as watching:
            async for event in watching:
                if as_json:
                    print_json_line({"event": type(event).__name__, **_fields(event)})
                else:
                    print(printable(_line(event)), flush=True)

    run_client(connection, run)


def _fields(event: SessionEvent) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in fields(event)}


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
