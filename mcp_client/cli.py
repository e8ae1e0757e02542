"""The command line ``mcp-client``: talk to a server from a terminal or a script."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_client.cli_run import (
    MISUSED,
    fail,
    local,
    pair,
    print_json,
    print_stream,
    print_table,
    run_client,
    standard_input,
    told,
)

if TYPE_CHECKING:
    from mcp_client import MCPClient, Session, Turn

ADDRESS_VARIABLE = "CONTEXTPROTOCOL_ADDRESS"
NOT_SERVING = 3
"""The exit status of ``health`` when the server answers and does not serve."""

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
turns = typer.Typer(
    help="Look at turns, which are requests to a model and their answers, and stop them.", no_args_is_help=True
)
app.add_typer(turns, name="turns")

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
TurnName = Annotated[
    str,
    typer.Argument(metavar="TURN", help="Its full name: sessions/SESSION/turns/ID, or turns/ID.", show_default=False),
]
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
    if_busy: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="If a turn runs on the session: reject (default), queue, or cancel_running.",
            show_default=False,
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Chat: one answer, or a conversation in the terminal."""
    from mcp_client._requests import TurnOptions

    options = TurnOptions(model=model, temperature=temperature, max_output_tokens=max_tokens, if_busy=if_busy)
    if prompt is None and sys.stdin.isatty() and sys.stdout.isatty():
        from mcp_client.terminal import converse

        with told():
            converse(server, session=session, system=system, options=options)
        return
    text = prompt if prompt is not None else standard_input()
    if not text.strip():
        fail("the prompt is empty: say something", MISUSED)  # and no session is begun in vain

    async def answer(client: MCPClient) -> None:
        opened = await open_session(client, session, system)
        try:
            await print_stream(client.stream_chat(text, session=opened, **options))
        except BaseException:
            if session is None:
                await drop_if_empty(client, opened)
            raise
        if session is None:
            print(f"session {opened.id}", file=sys.stderr)

    run_client(server, answer)


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
    text = prompt if prompt is not None else standard_input()
    run_client(
        server,
        lambda client: print_stream(
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
    inputs = texts or [line for line in standard_input().splitlines() if line]

    async def answer(client: MCPClient) -> None:
        for vector in (await client.embed(inputs, model=model)).vectors:
            print(json.dumps(vector))

    run_client(server, answer)


@app.command()
def models(as_json: AsJson = False, server: Server = DEFAULT_SERVER) -> None:
    """List what the server can answer with."""

    async def answer(client: MCPClient) -> None:
        found = await client.list_models()
        if as_json:
            print_json([dataclasses.asdict(model) for model in found])
            return
        print_table(
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

    run_client(server, answer)


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
            print_table(
                ("SERVICE", "STATUS"),
                sorted((name or "(server)", str(s)) for name, s in (await client.list_health(timeout=5)).items()),
            )
            return
        status = await client.health(service, timeout=5)
        print(status)
        if status is not HealthStatus.SERVING:
            raise typer.Exit(NOT_SERVING)

    run_client(server, answer)


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
    labels = dict(pair(text, "--label") for text in label or [])

    async def answer(client: MCPClient) -> None:
        found: list[Session] = []
        async for session in client.list_sessions(labels=labels, newest_first=True, page_size=min(limit, 1000)):
            found.append(session)
            if len(found) == limit:
                break
        if as_json:
            print_json([dataclasses.asdict(session) for session in found])
            return
        print_table(
            ("SESSION", "MESSAGES", "CREATED", "EXPIRES", "LABELS"),
            [
                (
                    session.id,
                    str(session.message_count),
                    local(session.create_time),
                    local(session.expire_time),
                    ", ".join(f"{key}={value}" for key, value in sorted(session.labels.items())),
                )
                for session in found
            ],
        )

    run_client(server, answer)


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
    labels = dict(pair(text, "--label") for text in label or [])

    async def answer(client: MCPClient) -> None:
        created = await client.create_session(
            session, system_instruction=system, default_model=model, labels=labels, ttl=ttl
        )
        print(created.id)

    run_client(server, answer)


@sessions.command()
def show(
    session: Annotated[str, typer.Argument(metavar="NAME", help="The session.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print all that is known of a session, as JSON."""

    async def answer(client: MCPClient) -> None:
        print_json(dataclasses.asdict(await client.get_session(session)))

    run_client(server, answer)


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
            print_json([dataclasses.asdict(message) for message in found])
            return
        for message in found:
            print(f"{message.role}: {message.text}")

    run_client(server, answer)


@sessions.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The sessions.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Delete sessions with their history."""

    async def answer(client: MCPClient) -> None:
        for name in names:
            await client.delete_session(name)

    run_client(server, answer)


@sessions.command()
def fork(
    session: Annotated[str, typer.Argument(metavar="NAME", help="The session to branch off from.")],
    new: Annotated[str, typer.Argument(metavar="[NEW]", help="The new one's id. Default: the server chooses.")] = "",
    at: Annotated[
        int | None,
        typer.Option("--at", metavar="N", help="Keep only the first N messages.", show_default=False),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Begin a session with the history of another, and print its id."""

    async def answer(client: MCPClient) -> None:
        print((await client.fork_session(session, new, message_count=at)).id)

    run_client(server, answer)


@turns.command("list")
def list_turns(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """List the turns of a session that are still kept, the newest first."""

    async def answer(client: MCPClient) -> None:
        found: list[Turn] = []
        async for turn in client.list_turns(session, page_size=min(limit, 1000)):
            found.append(turn)
            if len(found) == limit:
                break
        if as_json:
            print_json([dataclasses.asdict(turn) for turn in found])
            return
        print_table(
            ("TURN", "STATE", "CREATED", "MODEL", "ATTEMPTS", "TOKENS"),
            [
                (
                    turn.name,
                    f"{turn.state}{f': {turn.error.reason}' if turn.error else ''}",
                    local(turn.create_time),
                    f"{turn.attempts[-1].provider}/{turn.attempts[-1].model}" if turn.attempts else "",
                    str(len(turn.attempts)),
                    str(turn.usage.output_tokens),
                )
                for turn in found
            ],
        )

    run_client(server, answer)


@turns.command("show")
def show_turn(turn: TurnName, server: Server = DEFAULT_SERVER) -> None:
    """Print all that is known of a turn, as JSON."""

    async def answer(client: MCPClient) -> None:
        print_json(dataclasses.asdict(await client.get_turn(turn)))

    run_client(server, answer)


@turns.command()
def watch(turn: TurnName, server: Server = DEFAULT_SERVER) -> None:
    """Print the answer of a turn from its beginning, and go on as it comes. Ctrl-C leaves the turn as it is."""
    run_client(server, lambda client: print_stream(client.stream_turn(turn)))


@turns.command()
def cancel(turn: TurnName, server: Server = DEFAULT_SERVER) -> None:
    """Stop a turn, and print how it ended."""

    async def answer(client: MCPClient) -> None:
        print((await client.cancel_turn(turn)).state)

    run_client(server, answer)


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


async def drop_if_empty(client: MCPClient, session: Session) -> None:
    """Delete a session that was begun for nothing."""
    from mcp_client import MCPError

    # It is only tidy: what cannot be deleted now is empty and expires.
    with contextlib.suppress(MCPError):
        session = await client.get_session(session, timeout=2)
        if not session.message_count:
            await client.delete_session(session, etag=session.etag, timeout=2)


if __name__ == "__main__":
    main()
