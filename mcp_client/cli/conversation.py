"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mcp_client import FinishReason, MCPClient, MCPError, RetryNotice, Session, TurnOptions
from mcp_client.cli.answer import FormattedAnswer, Tail
from mcp_client.cli.connection import connect
from mcp_client.cli.lifecycle import delete_if_empty, open_session
from mcp_client.cli.run import retry_line
from mcp_client.cli.terminal import visible

HELP = """\
/help            show this help
/new             start a new session
/session [NAME]  switch to another session, or show the current one
/model [NAME]    switch to another model, or list them
/quit            leave, like Ctrl-D
Ctrl-C stops an answer. A stopped answer and its message are not part of the history."""
REFRESH_PER_SECOND = 12


def converse(server: str, *, session: str | None, system: str, options: TurnOptions) -> None:
    """Run a conversation until the user leaves."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # adds line editing and history to input()
    with asyncio.Runner() as runner:
        console = Console(highlight=False)

        def print_retry(notice: RetryNotice) -> None:
            if line := retry_line(notice):
                console.print(Text(visible(line), style="dim"))

        conversation = Conversation(connect(server, print_retry), console, options)
        try:
            runner.run(conversation.open(session, system))
            while True:
                try:
                    line = conversation.ask()
                    if line is None:
                        break
                    runner.run(conversation.take(line))
                except KeyboardInterrupt:
                    continue
        finally:
            runner.run(conversation.close())


class Conversation:
    """A conversation of one user with one server, in one session at a time."""

    def __init__(self, client: MCPClient, console: Console, options: TurnOptions) -> None:
        self._client = client
        self._console = console
        self._options = options
        self._session: Session | None = None
        self._created: Session | None = None
        self._system = ""

    async def open(self, session: str | None, system: str) -> None:
        """Switch to a session, which is created if it does not exist, and print its name."""
        self._system = system
        opened = await open_session(self._client, session, system)
        await self._delete_created()
        self._session, self._created = opened, None if session else opened
        count = self._session.message_count
        history = f" ({count} message{'s' * (count != 1)} so far)" if count else ""
        self._print(f"session {self._session.id}{history} · {await self._model()} · /help\n")

    def ask(self) -> str | None:
        """Read the next line; ``None`` when the user leaves. Ctrl-C clears the line, a second one leaves."""
        interrupted = False
        while True:
            try:
                # The marks \001 and \002 tell readline that the colour codes between them have no width.
                line = input("\001\033[1;36m\002> \001\033[0m\002").strip()
            except EOFError:
                self._console.print()
                return None
            except KeyboardInterrupt:
                self._console.print()
                if interrupted:
                    return None
                interrupted = True
                self._print("Ctrl-C again, or Ctrl-D, leaves")
                continue
            if line == "/quit":
                return None
            if line:
                return line

    async def take(self, line: str) -> None:
        """Run a command, or send the line to the model."""
        command, _, argument = line.partition(" ")
        try:
            if command == "/help":
                self._console.print(Text(HELP, style="dim"))
            elif command == "/new":
                await self.open(None, self._system)
            elif command == "/session":
                await self.open(argument.strip() or self._session_id, self._system)
            elif command == "/model":
                await self._choose_model(argument.strip())
            elif command.startswith("/"):
                self._print(f"unknown command {command}; /help lists the commands", style="yellow")
            else:
                await self._answer(line)
        except (MCPError, ValueError) as error:
            self._console.print(Text(visible(str(error)), style="red"), end="\n\n")

    async def close(self) -> None:
        """Close the connection, after deleting a session that was created here and has no messages."""
        await self._delete_created()
        await self._client.close()

    async def _delete_created(self) -> None:
        if self._created is not None:
            await delete_if_empty(self._client, self._created)

    @property
    def _session_id(self) -> str:
        assert self._session is not None
        return self._session.id

    async def _model(self) -> str:
        """The name of the model of the next answer."""
        assert self._session is not None
        chosen = self._options.get("model") or self._session.default_model
        if chosen:
            return (await self._client.get_model(chosen)).name
        return next((model.name for model in await self._client.list_models() if model.is_default), "no default model")

    async def _choose_model(self, name: str) -> None:
        if name:
            model = await self._client.get_model(name)
            self._options["model"] = model.name
            self._print(f"switched to {model.name}")
            return
        current = await self._model()
        for model in await self._client.list_models():
            mark = "→" if model.name == current else " "
            self._print(f"{mark} {model.name} ({model.state})")

    async def _answer(self, text: str) -> None:
        """Show the answer while it is generated; at its end print it completely, so that it can be scrolled back to."""
        stream = self._client.stream_chat(text, session=self._session_id, **self._options)
        waiting = Spinner("dots", Text("…", style="dim"))
        live = Live(
            get_renderable=lambda: Tail(stream.text) if stream.text else waiting,
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            vertical_overflow="visible",
        )
        note = None
        try:
            with _without_echo(), live:
                async with stream:
                    reply = await stream.reply()
            summary = f"{reply.usage.output_tokens} tokens · {reply.duration:.1f} s"
            cut = " · reached its maximum length" if reply.finish_reason is FinishReason.LENGTH else ""
            note = Text(f"{visible(stream.model)} · {summary}{cut}", style="dim")
        except asyncio.CancelledError:
            note = Text("stopped", style="yellow")
            raise
        finally:
            if stream.text:
                self._console.print(FormattedAnswer(stream.text))
            if note is not None:
                self._console.print(note, end="\n\n")

    def _print(self, text: str, *, style: str = "dim") -> None:
        self._console.print(Text(visible(text), style=style))


@contextlib.contextmanager
def _without_echo() -> Iterator[None]:
    """Do not echo keys that are pressed while an answer is shown; the next prompt receives them."""
    try:
        import termios
    except ImportError:  # not a POSIX terminal
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    silent = before.copy()
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
