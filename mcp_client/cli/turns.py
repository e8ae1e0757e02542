"""The commands ``mcp-client turns``."""

from __future__ import annotations

from typing import Annotated

import typer

from mcp_client import MCPClient
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.options import AlwaysJson, AsJson, Limit, TurnName
from mcp_client.cli.output import local_time, print_events, print_json, print_stream, print_table
from mcp_client.cli.run import first, run_client
from mcp_client.cli.selection import Last, OptionalSessionName, find_session

app = typer.Typer(
    help="List, watch and cancel turns, which are requests to a model and their answers.", no_args_is_help=True
)


@app.command("list")
@connecting
def list_turns(
    session: OptionalSessionName = "",
    last: Last = False,
    limit: Limit = 50,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """List the turns of a session within the retention period, newest first."""

    async def run(client: MCPClient) -> None:
        chosen = await find_session(client, session, last=last)
        found = await first(limit, client.list_turns(chosen, page_size=min(limit, 1000)))
        if as_json:
            print_json(found)
            return
        print_table(
            ("TURN", "STATE", "CREATED", "MODEL", "ATTEMPTS", "TOKENS"),
            [
                (
                    turn.name,
                    f"{turn.state}{f': {turn.error.reason}' if turn.error else ''}",
                    local_time(turn.create_time),
                    f"{turn.attempts[-1].provider}/{turn.attempts[-1].model}" if turn.attempts else "",
                    str(len(turn.attempts)),
                    str(turn.usage.output_tokens),
                )
                for turn in found
            ],
        )

    run_client(connection, run)


@app.command()
@connecting
def show(turn: TurnName, as_json: AlwaysJson = False, *, connection: Connection) -> None:
    """Print a turn as JSON."""

    async def run(client: MCPClient) -> None:
        print_json(await client.get_turn(turn))

    run_client(connection, run)


@app.command()
@connecting
def watch(
    turn: TurnName,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a line of JSON.")] = False,
    *,
    connection: Connection,
) -> None:
    """Print the answer of a turn from its start, and follow it. Ctrl-C does not cancel the turn."""
    printer = print_events if as_json else print_stream
    run_client(connection, lambda client: printer(client.stream_turn(turn)))


@app.command()
@connecting
def cancel(turn: TurnName, as_json: AsJson = False, *, connection: Connection) -> None:
    """Cancel a turn, and print its final state."""

    async def run(client: MCPClient) -> None:
        cancelled = await client.cancel_turn(turn)
        if as_json:
            print_json(cancelled)
        else:
            print(cancelled.state)

    run_client(connection, run)
