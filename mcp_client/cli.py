"""The command line ``mcp-client``: talk to a server from a terminal or a script."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from mcp_client import MCPClient, Session

ADDRESS_VARIABLE = "CONTEXTPROTOCOL_ADDRESS"
FAILED = 1
"""The exit status of a command that could not do its work."""
MISUSED = 2
"""The exit status of a command whose arguments are wrong."""
NOT_SERVING = 3
"""The exit status of ``health`` when the server answers and does not serve."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="mcp-client",
    help="Talk to a contextprotocol server: sessions with memory over swappable model providers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sessions = typer.Typer(help="Look at sessions and change them.", no_args_is_help=True)
app.add_typer(sessions, name="sessions")

Server = Annotated[
    str,
    typer.Option(
        "--server", "-s", metavar="HOST:PORT", envvar=ADDRESS_VARIABLE, help="Where the server is.", show_default=True
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="An alias or provider/model; default: the server's.", show_default=False
    ),
]
Temperature = Annotated[float | None, typer.Option(metavar="NUMBER", help="0 (greedy) to 2.", show_default=False)]
MaxTokens = Annotated[int | None, typer.Option(metavar="TOKENS", help="The longest answer.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT_SERVER = "127.0.0.1:50051"


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="What to say. Without it: a conversation on a terminal, or standard input as the prompt.",
            show_default=False,
        ),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Go on with this session, or begin it. Default: a new one.", show_default=False
        ),
    ] = None,
    system: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The system instruction of a session that begins.", show_default=False),
    ] = "",
    model: ModelOption = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Chat: one answer, or a conversation in the terminal."""
    from mcp_client._requests import TurnOptions

    options = TurnOptions(model=model, temperature=temperature, max_output_tokens=max_tokens)
    if prompt is None and sys.stdin.isatty() and sys.stdout.isatty():
        from mcp_client.terminal import converse

        with _told():
            converse(server, session=session, system=system, options=options)
        return
    text = prompt if prompt is not None else _standard_input()
    if not text.strip():
        _fail("the prompt is empty: say something", MISUSED)  # and no session is begun in vain

    async def answer(client: MCPClient) -> None:
        opened = await open_session(client, session, system)
        if session is None:
            print(f"session {opened.id}", file=sys.stderr)
        await _print_stream(client.stream_chat(text, session=opened, **options))

    _run(server, answer)


@app.command()
def complete(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The text to go on from. Without it: standard input.", show_default=False),
    ] = None,
    model: ModelOption = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End before this text; can be given several times.", show_default=False),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Go on from a raw prompt: no roles, no template, no memory."""
    text = prompt if prompt is not None else _standard_input()
    _run(
        server,
        lambda client: _print_stream(
            client.stream_complete(
                text, model=model, temperature=temperature, max_output_tokens=max_tokens, stop=stop or []
            )
        ),
    )


@app.command()
def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="The texts. Without any: each line of standard input.", show_default=False),
    ] = None,
    model: ModelOption = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Turn texts into vectors: one JSON array a line."""
    inputs = texts or [line for line in _standard_input().splitlines() if line]

    async def answer(client: MCPClient) -> None:
        for vector in (await client.embed(inputs, model=model)).vectors:
            print(json.dumps(vector))

    _run(server, answer)


@app.command()
def models(as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
    """List what the server can answer with."""

    async def answer(client: MCPClient) -> None:
        found = await client.list_models()
        if as_json:
            _print_json([dataclasses.asdict(model) for model in found])
            return
        _print_table(
            ("MODEL", "STATE", "CAN", "CONTEXT", "DEFAULT"),
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

    _run(server, answer)


@app.command()
def health(
    service: Annotated[
        str,
        typer.Argument(help="A service by its full name, or providers/NAME. Default: the server.", show_default=False),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="List everything that the server knows.")] = False,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wait so long for the server to serve.", show_default=False),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Say whether the server answers. Exit status: 0 if it serves, 3 if it does not, 1 if nothing answers."""

    async def answer(client: MCPClient) -> None:
        from mcp_client import HealthStatus

        if wait is not None:
            await client.wait_until_ready(wait)
        if every:
            _print_table(
                ("SERVICE", "STATUS"),
                sorted((name or "(server)", str(s)) for name, s in (await client.list_health(timeout=5)).items()),
            )
            return
        status = await client.health(service, timeout=5)
        print(status)
        if status is not HealthStatus.SERVING:
            raise typer.Exit(NOT_SERVING)

    _run(server, answer)


@sessions.command("list")
def list_sessions(
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Only those with this label; can be given several times.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """List sessions, the newest first."""
    labels = dict(_pair(text, "--label") for text in label or [])

    async def answer(client: MCPClient) -> None:
        found: list[Session] = []
        async for session in client.list_sessions(labels=labels, newest_first=True, page_size=min(limit, 1000)):
            found.append(session)
            if len(found) == limit:
                break
        if as_json:
            _print_json([dataclasses.asdict(session) for session in found])
            return
        _print_table(
            ("SESSION", "MESSAGES", "CREATED", "EXPIRES", "LABELS"),
            [
                (
                    session.id,
                    str(session.message_count),
                    _local(session.create_time),
                    _local(session.expire_time),
                    ", ".join(f"{key}={value}" for key, value in sorted(session.labels.items())),
                )
                for session in found
            ],
        )

    _run(server, answer)


@sessions.command()
def create(
    session: Annotated[str, typer.Argument(metavar="[NAME]", help="Its id. Default: the server chooses.")] = "",
    system: Annotated[str, typer.Option(metavar="TEXT", help="The system instruction.", show_default=False)] = "",
    model: ModelOption = "",
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label.", show_default=False)] = None,
    ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long it lives unused.", show_default=False)
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Begin a session and print its id."""
    labels = dict(_pair(text, "--label") for text in label or [])

    async def answer(client: MCPClient) -> None:
        created = await client.create_session(
            session, system_instruction=system, default_model=model, labels=labels, ttl=ttl
        )
        print(created.id)

    _run(server, answer)


@sessions.command()
def show(
    session: Annotated[str, typer.Argument(metavar="NAME", help="The session.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print all that is known of a session, as JSON."""

    async def answer(client: MCPClient) -> None:
        _print_json(dataclasses.asdict(await client.get_session(session)))

    _run(server, answer)


@sessions.command()
def messages(
    session: Annotated[str, typer.Argument(metavar="NAME", help="The session.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the last ones.")] = 50,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print the end of a session's history."""

    async def answer(client: MCPClient) -> None:
        found = []
        async for message in client.list_messages(session, newest_first=True, page_size=min(limit, 1000)):
            found.append(message)
            if len(found) == limit:
                break
        found.reverse()
        if as_json:
            _print_json([dataclasses.asdict(message) for message in found])
            return
        for message in found:
            print(f"{message.role}: {message.text}")

    _run(server, answer)


@sessions.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The sessions.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Delete sessions with their history."""

    async def answer(client: MCPClient) -> None:
        for name in names:
            await client.delete_session(name)

    _run(server, answer)


async def open_session(client: MCPClient, name: str | None, system: str) -> Session:
    """The session of that name, begun if there is none; without a name a new one."""
    from mcp_client import SessionExists, SessionNotFound

    if name is None:
        return await client.create_session(system_instruction=system)
    try:
        return await client.get_session(name)
    except SessionNotFound:
        try:
            return await client.create_session(name.removeprefix("sessions/"), system_instruction=system)
        except SessionExists:  # somebody was quicker
            return await client.get_session(name)


async def _print_stream(stream: Any) -> None:
    begun = False
    try:
        async with stream:
            async for token in stream:
                begun = True
                sys.stdout.write(token)
                sys.stdout.flush()
    finally:
        if begun:  # what goes wrong is told on a line of its own
            print()


def _run(server: str, answer: Callable[[MCPClient], Coroutine[Any, Any, None]]) -> None:
    """Carry out a command with a client; what goes wrong is one line on standard error and an exit status."""
    from mcp_client import MCPClient

    async def run() -> None:
        async with MCPClient(server) as client:
            await answer(client)

    with _told():
        asyncio.run(run())
        sys.stdout.flush()  # here a reader that is gone can still be told of


@contextmanager
def _told() -> Iterator[None]:
    from mcp_client import InvalidArgument, MCPError, ServerUnavailable

    try:
        yield
    except ServerUnavailable as error:
        _fail(f"{error.message}. Start a server with `mcp-server serve`, or name another with --server.", FAILED)
    except InvalidArgument as error:
        _fail(error.message, MISUSED)
    except MCPError as error:
        _fail(error.message, FAILED)
    except (ValueError, TypeError) as error:
        _fail(str(error), MISUSED)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _give_up_standard_output()
        raise SystemExit(FAILED) from None


def _give_up_standard_output() -> None:
    """Whoever read it has had enough. Python must not find that out again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _standard_input() -> str:
    """All of it, without the end of its last line, which belongs to the pipe and not to the text."""
    with _told():
        try:
            return sys.stdin.buffer.read().decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is not UTF-8 text: byte {error.start} is bad") from error


def _fail(message: str, status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_standard_output()
    print(f"mcp-client: {message}", file=sys.stderr)
    raise SystemExit(status)


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        _fail(f"{option}: expected KEY=VALUE, not {text!r}", MISUSED)
    return key, value


def _local(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time is not None else "never"


def _print_json(value: Any) -> None:
    def plain(item: Any) -> Any:
        if isinstance(item, datetime):
            return item.isoformat()
        if isinstance(item, bytes):
            import base64

            return base64.b64encode(item).decode()
        return sorted(item)

    print(json.dumps(value, default=plain, indent=2, ensure_ascii=False))


def _print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on a terminal; tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console().print(table)


if __name__ == "__main__":
    main()
