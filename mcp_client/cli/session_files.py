"""The commands ``mcp-client sessions export`` and ``import``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from mcp_client import MCPClient, MCPError
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.failures import MISUSED, fail
from mcp_client.cli.options import AsJson
from mcp_client.cli.output import print_json
from mcp_client.cli.run import run_client
from mcp_client.cli.selection import Last, OptionalSessionName, find_session
from mcp_client.cli.terminal import printable
from mcp_client.cli.transcript import read_transcript, transcript_of

_BATCH: Final = 100
"""How many messages are sent at a time."""


@connecting
def export(
    session: OptionalSessionName = "",
    last: Last = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for people, in place of JSON.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which is the default.")] = False,
    *,
    connection: Connection,
) -> None:
    """Print a session with its whole history, as JSON that import reads."""
    if markdown and as_json:
        fail("--markdown and --json: choose one", MISUSED)

    async def run(client: MCPClient) -> None:
        transcript = await transcript_of(client, await find_session(client, session, last=last))
        print(printable(transcript.to_markdown() if markdown else transcript.to_json()))

    run_client(connection, run)


@connecting
def import_session(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What export has printed; -: standard input.")],
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="The id of the new session. Default: that of the file.")
    ] = "",
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Create a session from a file of export, and print its id. The messages are as they were, their times are new."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        imported = read_transcript(text)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", MISUSED)
    except ValueError as error:
        fail(f"{file}: {error}", MISUSED)

    async def run(client: MCPClient) -> None:
        created = await client.create_session(name or imported.id, **imported.settings)
        try:
            for start in range(0, len(imported.messages), _BATCH):
                await client.append_messages(created, imported.messages[start : start + _BATCH])
        except (MCPError, ValueError, TypeError):
            await client.delete_session(created)
            raise
        if as_json:
            print_json(await client.get_session(created))
        else:
            print(created.id)

    run_client(connection, run)
