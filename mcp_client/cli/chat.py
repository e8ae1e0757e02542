"""The command ``mcp-client chat``."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from mcp_client import MCPClient, TurnOptions
from mcp_client.cli import attachments, prompts
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.failures import MISUSED, fail, pairs
from mcp_client.cli.lifecycle import delete_if_empty, open_session, require_settings
from mcp_client.cli.options import AsJson, JSONSchema, Labels, MaxTokens, ModelOption, Temperature
from mcp_client.cli.output import fields_of, print_json, print_stream
from mcp_client.cli.run import exit_on_error, run_client
from mcp_client.cli.selection import LAST_NAME
from mcp_client.cli.state import last_session

TEMPORARY_TTL: Final = 24 * 3600.0
"""How long the new session of a pipe is kept unused, in seconds."""


@connecting
def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The message; the text of a pipe or file on standard input is added to it. Without it: a conversation "
            "on a terminal, or standard input as the message.",
            show_default=False,
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Continue this session, or create it; {LAST_NAME}: the one that you used last. Default: a new one.",
            show_default=False,
        ),
    ] = None,
    system: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The system instruction of a new session.", show_default=False),
    ] = "",
    last: Annotated[
        bool, typer.Option("--last", "--continue", "-c", help="Continue the session that you used last.")
    ] = False,
    ttl: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long a new session is kept unused. Default: the server's; without a terminal, and without "
            "--session, a day.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    label: Labels = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Send this image too; can be repeated.", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Send this file too: a text behind the prompt, others as they are; can be repeated.",
            show_default=False,
        ),
    ] = None,
    json_schema: JSONSchema = None,
    if_busy: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION",
            help="If a turn is running on the session: reject (default), queue, or cancel_running.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Chat: one answer, or a conversation in the terminal."""
    options = TurnOptions(
        model=model,
        temperature=temperature,
        max_output_tokens=max_tokens,
        labels=pairs(label, "--label"),
        if_busy=if_busy,
        json_schema=attachments.json_schema(json_schema),
    )
    if last and session is not None:
        fail("--last and --session: choose one", MISUSED)
    if last or session == LAST_NAME:
        with exit_on_error():
            session = last_session(connection.server)
    on_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    if prompt is None and on_terminal:
        if image or file or as_json:
            fail("--image, --file and --json need a prompt", MISUSED)
        from mcp_client.cli.dialogue import converse

        with exit_on_error():
            converse(connection, session=session, system=system, ttl=ttl, options=options)
        return
    text = prompts.message(prompt)
    if not text.strip():
        fail("the message is empty", MISUSED)  # before a session is created

    message = attachments.message_with(text, file or [], image or [])

    async def run(client: MCPClient) -> None:
        kept = TEMPORARY_TTL if ttl is None and session is None and not on_terminal else ttl
        opened, is_new = await open_session(client, session, system=system, ttl=kept)
        if session is not None and is_new:
            print(f"new session {opened.id}", file=sys.stderr)
        if not is_new:
            require_settings(opened, system=system, ttl=ttl)
        try:
            if as_json:
                reply = await client.chat(message, session=opened, **options)
                print_json({"session": opened.name, **fields_of(reply)})
            else:
                await print_stream(client.stream_chat(message, session=opened, **options))
        except BaseException:
            if session is None:
                await delete_if_empty(client, opened)
            raise
        if session is None:
            print(f"session {opened.id}", file=sys.stderr)

    run_client(connection, run)
