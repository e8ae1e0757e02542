"""The commands of ``mcp-client``: talk to a server from a terminal or a script.

rich is imported where it is needed: it would slow down the start of commands in scripts.
"""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from mcp_client import HealthStatus, MCPClient, TurnOptions
from mcp_client._core.channel import version
from mcp_client.cli import access, attachments, chat, logs, prompts, sessions, turns
from mcp_client.cli.connection import Connection, connecting
from mcp_client.cli.failures import pairs
from mcp_client.cli.options import AsJson, JSONSchema, Labels, MaxTokens, ModelOption, Temperature
from mcp_client.cli.output import print_json, print_stream, print_table
from mcp_client.cli.run import run_client
from mcp_client.cli.selection import find_session

NOT_SERVING: Final = 3
"""The exit status of ``health`` if the server answers that it does not accept calls."""

app = typer.Typer(
    name="mcp-client",
    help="Talk to a contextprotocol server: sessions with memory over swappable model providers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sessions.app, name="sessions")
app.add_typer(turns.app, name="turns")
app.command()(chat.chat)
app.command()(access.whoami)
app.command()(access.usage)
app.command()(logs.logs)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mcp-client {version()}")
        raise typer.Exit


@app.callback()
def _program(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of the program itself."""


@app.command()
@connecting
def complete(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The text to continue; that of a pipe or file on standard input is added to it. Without it: standard "
            "input.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A stop sequence that ends the answer; can be repeated.", show_default=False),
    ] = None,
    label: Labels = None,
    json_schema: JSONSchema = None,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Complete a raw prompt: without roles, template or memory."""
    text = prompts.message(prompt)
    options = TurnOptions(
        model=model,
        temperature=temperature,
        max_output_tokens=max_tokens,
        stop=stop or [],
        labels=pairs(label, "--label"),
        json_schema=attachments.json_schema(json_schema),
    )

    async def run(client: MCPClient) -> None:
        if as_json:
            print_json(await client.complete(text, **options))
        else:
            await print_stream(client.stream_complete(text, **options))

    run_client(connection, run)


@app.command()
@connecting
def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="The texts, and the lines of a pipe or file on standard input. Without any: the lines of standard "
            "input.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = "",
    label: Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with the model and usage.")] = False,
    *,
    connection: Connection,
) -> None:
    """Create embeddings: one JSON array per line."""
    inputs, labels = prompts.texts(texts or []), pairs(label, "--label")

    async def run(client: MCPClient) -> None:
        embeddings = await client.embed(inputs, model=model, labels=labels)
        if as_json:
            print_json(embeddings)
            return
        for vector in embeddings.vectors:
            print(json.dumps(vector.tolist()))

    run_client(connection, run)


@app.command()
@connecting
def count(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The message; the text of a pipe or file on standard input is added to it. Without it: standard "
            "input.",
            show_default=False,
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Count the instruction, context and history of this session too.", show_default=False
        ),
    ] = None,
    model: ModelOption = "",
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Count the tokens of the prompt that chat would send, without sending it."""
    text = prompts.message(prompt)

    async def run(client: MCPClient) -> None:
        found = await find_session(client, session) if session is not None else None
        counted = await client.count_tokens(text, session=found, model=model)
        if as_json:
            print_json(counted)
        else:
            print(f"{'' if counted.exact else '~'}{counted.input_tokens}")

    run_client(connection, run)


@app.command()
@connecting
def models(as_json: AsJson = False, *, connection: Connection) -> None:
    """List the models that the server offers."""

    async def run(client: MCPClient) -> None:
        found = await client.list_models()
        if as_json:
            print_json(found)
            return
        print_table(
            ("MODEL", "STATE", "CAPABILITIES", "CONTEXT", "DEFAULT"),
            [
                (
                    model.name,
                    f"{model.state}{f': {model.state_reason}' if model.state_reason else ''}",
                    ", ".join(sorted(model.capabilities)),
                    str(model.context_window or "?"),
                    "yes" if model.is_default else "",
                )
                for model in found
            ],
        )

    run_client(connection, run)


@app.command()
@connecting
def health(
    service: Annotated[
        str,
        typer.Argument(help="A service by its full name, or providers/NAME. Default: the server.", show_default=False),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="List all services.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Wait up to this long until the server accepts calls.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    connection: Connection,
) -> None:
    """Check whether the server accepts calls. Exit status: 0 if it does, 3 if it does not, 1 without an answer."""

    async def run(client: MCPClient) -> None:
        if wait is not None:
            await client.wait_until_ready(wait)
        if every:
            found = sorted((name or "(server)", str(s)) for name, s in (await client.list_health(timeout=5)).items())
            if as_json:
                print_json([{"service": name, "status": status} for name, status in found])
            else:
                print_table(("SERVICE", "STATUS"), found)
            return
        status = await client.health(service, timeout=5)
        if as_json:
            print_json({"service": service or "(server)", "status": status})
        else:
            print(status)
        if status is not HealthStatus.SERVING:
            raise typer.Exit(NOT_SERVING)

    run_client(connection, run)
