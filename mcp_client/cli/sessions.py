"""The commands ``mcp-client sessions``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mcp_client import MCPClient, MCPError, ServerUnavailable, Session
from mcp_client.cli import session_files, session_watch
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.failures import FAILED, MISUSED, fail, pairs, report
from mcp_client.cli.options import AlwaysJson, AsJson, Limit, ModelOption
from mcp_client.cli.output import local_time, print_json, print_table
from mcp_client.cli.run import first, run_client
from mcp_client.cli.selection import Last, OptionalSessionName, SessionName, find_session
from mcp_client.cli.state import remember_session
from mcp_client.cli.terminal import printable

app = typer.Typer(help="List, show and change sessions.", no_args_is_help=True)
app.command("export")(session_files.export)
app.command("import")(session_files.import_session)
app.command()(session_watch.watch)


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
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Create a session and print its id."""
    labels = pairs(label, "--label")

    async def run(client: MCPClient) -> None:
        created = await client.create_session(
            session, system_instruction=system, default_model=model, labels=labels, ttl=ttl
        )
        _print_created(client, created, as_json=as_json)

    run_client(connection, run)


@app.command()
@connecting
def show(
    session: OptionalSessionName = "", last: Last = False, as_json: AlwaysJson = False, *, connection: Connection
) -> None:
    """Print a session as JSON."""

    async def run(client: MCPClient) -> None:
        print_json(await client.get_session(await find_session(client, session, last=last)))

    run_client(connection, run)


@app.command()
@connecting
def messages(
    session: OptionalSessionName = "",
    last: Last = False,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number to print, the last ones.")] = 50,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Print the last messages of a session."""

    async def run(client: MCPClient) -> None:
        chosen = await find_session(client, session, last=last)
        found = await first(limit, client.list_messages(chosen, newest_first=True, page_size=min(limit, 1000)))
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
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="The sessions: their names, or unique beginnings of them.")
    ],
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Delete sessions with their history. What cannot be deleted does not keep the others."""

    async def run(client: MCPClient) -> None:
        results: list[dict[str, str | bool]] = []
        for name in names:
            try:
                found = await find_session(client, name)
                await client.delete_session(found)
                results.append({"name": found, "deleted": True, "error": ""})
            except ServerUnavailable:
                raise
            except (MCPError, ValueError) as error:
                results.append({"name": name, "deleted": False, "error": str(error)})
                report(str(error))
        if as_json:
            print_json(results)
        if not all(result["deleted"] for result in results):
            raise typer.Exit(FAILED)

    run_client(connection, run)


@app.command()
@connecting
def fork(
    session: SessionName,
    new: Annotated[
        str, typer.Argument(metavar="[NEW]", help="The id of the new session. Default: the server generates one.")
    ] = "",
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="N", help="Copy only the first N messages.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Create a session with the history of another one, and print its id."""

    async def run(client: MCPClient) -> None:
        forked = await client.fork_session(await find_session(client, session), new, message_count=at)
        _print_created(client, forked, as_json=as_json)

    run_client(connection, run)


@app.command()
@connecting
def rewind(
    session: SessionName,
    keep: Annotated[int, typer.Argument(metavar="N", min=0, help="How many messages to keep, from the first.")],
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Remove all messages of a session but the first N."""

    async def run(client: MCPClient) -> None:
        rewound = await client.rewind_session(await find_session(client, session), keep)
        if as_json:
            print_json(rewound)

    run_client(connection, run)


@app.command()
@connecting
def update(
    session: OptionalSessionName = "",
    last: Last = False,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The system instruction; empty: none.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="MODEL", help="The default model.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Set a label; can be repeated.", show_default=False),
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Remove a label; can be repeated.", show_default=False)
    ] = None,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long it is kept unused.", show_default=False)
    ] = None,
    no_ttl: Annotated[bool, typer.Option("--no-ttl", help="Keep it without limit.")] = False,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Change a session: only what is given."""
    labels = pairs(label, "--label")
    if ttl is not None and no_ttl:
        fail("--ttl and --no-ttl: choose one", MISUSED)
    changes: dict[str, Any] = {}
    if system is not None:
        changes["system_instruction"] = system
    if model is not None:
        changes["default_model"] = model
    if ttl is not None or no_ttl:
        changes["ttl"] = ttl
    if not (changes or labels or remove_label):
        fail("nothing to change: pass --system, --model, --label, --remove-label, --ttl or --no-ttl", MISUSED)

    async def run(client: MCPClient) -> None:
        current = await client.get_session(await find_session(client, session, last=last))
        if labels or remove_label:
            kept = {key: value for key, value in current.labels.items() if key not in (remove_label or ())}
            changes["labels"] = {**kept, **labels}
            changes["etag"] = current.etag  # labels are replaced as a whole
        updated = await client.update_session(current, **changes)
        if as_json:
            print_json(updated)

    run_client(connection, run)


def _print_created(client: MCPClient, session: Session, *, as_json: bool) -> None:
    remember_session(client.address, session.id)
    if as_json:
        print_json(session)
    else:
        print(session.id)
