"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.spinner import Spinner
from rich.text import Text

from mcp_client import MCPClient, MCPError, Session, TurnOptions
from mcp_client.cli import open_session

HELP = """\
/help            this
/new             begin a new session
/session [NAME]  go on with another session, or show this one
/model [NAME]    ask another model, or list them
/quit            leave; so does Ctrl-D
Ctrl-C stops an answer. A stopped answer, and what led to it, is not remembered."""
REFRESH_PER_SECOND = 12


def converse(server: str, *, session: str | None, system: str, options: TurnOptions) -> None:
    """Talk until the person leaves."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # gives input() line editing and history
    with asyncio.Runner() as runner:
        conversation = Conversation(MCPClient(server), Console(highlight=False), options)
        try:
            runner.run(conversation.open(session, system))
            while (line := conversation.ask()) is not None:
                with contextlib.suppress(KeyboardInterrupt):
                    runner.run(conversation.take(line))
        finally:
            runner.run(conversation.close())


class Conversation:
    """One person, one server, one session at a time."""

    def __init__(self, client: MCPClient, console: Console, options: TurnOptions) -> None:
        self._client = client
        self._console = console
        self._options = options
        self._session: Session | None = None
        self._system = ""

    async def open(self, session: str | None, system: str) -> None:
        """Begin, or go on with a session, and say which."""
        self._system = system
        self._session = await open_session(self._client, session, system)
        model = self._options.get("model") or self._session.default_model or "the server's default model"
        remembered = f", {self._session.message_count} messages so far" if self._session.message_count else ""
        self._say(f"session [b]{self._session.id}[/b]{remembered} · {model} · /help")

    def ask(self) -> str | None:
        """The next line of the person; ``None`` when they leave. Ctrl-C clears a line, and a second one leaves."""
        interrupted = False
        while True:
            try:
                # The codes that colour the prompt stand between marks by which readline knows that they have no width.
                line = input("\001\033[1;36m\002> \001\033[0m\002").strip()
            except EOFError:
                self._console.print()
                return None
            except KeyboardInterrupt:
                self._console.print()
                if interrupted:
                    return None
                interrupted = True
                self._say("once more, or Ctrl-D, to leave")
                continue
            if line == "/quit":
                return None
            if line:
                return line

    async def take(self, line: str) -> None:
        """Carry out a command, or say the line to the model."""
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
                self._say(f"there is no {command}; /help lists what there is", style="yellow")
            else:
                await self._answer(line)
        except (MCPError, ValueError) as error:
            self._console.print(Text(str(error), style="red"))

    async def close(self) -> None:
        """Leave the server."""
        await self._client.close()

    @property
    def _session_id(self) -> str:
        assert self._session is not None
        return self._session.id

    async def _choose_model(self, name: str) -> None:
        if name:
            model = await self._client.get_model(name)
            self._options["model"] = model.name
            self._say(f"{model.name} answers from now on")
            return
        for model in await self._client.list_models():
            mark = "→" if self._options.get("model") == model.name else " "
            self._say(f"{mark} {model.name} ({model.state})")

    async def _answer(self, text: str) -> None:
        """Stream the answer as it comes; at its end it stands there whole, and can be scrolled back to."""
        answer: list[str] = []
        note: Any = None
        live = Live(
            Spinner("dots", Text("…", style="dim")),
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            vertical_overflow="ellipsis",
        )
        try:
            with live:
                async with self._client.stream_chat(text, session=self._session_id, **self._options) as stream:
                    async for token in stream:
                        answer.append(token)
                        live.update(Markdown("".join(answer)))
                    reply = await stream.reply()
                    seconds = f"{reply.duration:.1f} s"
                    note = Text(f"{stream.model} · {reply.usage.output_tokens} tokens · {seconds}", style="dim")
        except asyncio.CancelledError:
            note = Text("stopped", style="yellow")
            raise
        finally:
            self._console.print(Markdown("".join(answer)))
            if note is not None:
                self._console.print(note)
                self._console.print()

    def _say(self, text: str, *, style: str = "dim") -> None:
        self._console.print(text, style=style)
