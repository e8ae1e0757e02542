"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from mcp_client import FinishReason, MCPClient, MCPError, RetryNotice, Session, TurnOptions
from mcp_client.cli import drop_if_empty, open_session
from mcp_client.cli_run import retry_line

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
        console = Console(highlight=False)

        def tell_retry(notice: RetryNotice) -> None:
            if line := retry_line(notice):
                console.print(Text(line, style="dim"))

        conversation = Conversation(MCPClient(server, on_retry=tell_retry), console, options)
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
    """One person, one server, one session at a time."""

    def __init__(self, client: MCPClient, console: Console, options: TurnOptions) -> None:
        self._client = client
        self._console = console
        self._options = options
        self._session: Session | None = None
        self._begun: Session | None = None
        self._system = ""

    async def open(self, session: str | None, system: str) -> None:
        """Begin, or go on with a session, and say which."""
        self._system = system
        opened = await open_session(self._client, session, system)
        await self._drop_begun()
        self._session, self._begun = opened, None if session else opened
        count = self._session.message_count
        remembered = f" ({count} message{'s' * (count != 1)} so far)" if count else ""
        self._say(f"session {self._session.id}{remembered} · {await self._model()} · /help\n")

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
            self._console.print(Text(str(error), style="red"), end="\n\n")

    async def close(self) -> None:
        """Leave the server. A session that was begun here and in which nothing was said does not stay."""
        await self._drop_begun()
        await self._client.close()

    async def _drop_begun(self) -> None:
        if self._begun is not None:
            await drop_if_empty(self._client, self._begun)

    @property
    def _session_id(self) -> str:
        assert self._session is not None
        return self._session.id

    async def _model(self) -> str:
        """What the next answer comes from."""
        assert self._session is not None
        chosen = self._options.get("model") or self._session.default_model
        if chosen:
            return (await self._client.get_model(chosen)).name
        return next((model.name for model in await self._client.list_models() if model.is_default), "no default model")

    async def _choose_model(self, name: str) -> None:
        if name:
            model = await self._client.get_model(name)
            self._options["model"] = model.name
            self._say(f"{model.name} answers from now on")
            return
        current = await self._model()
        for model in await self._client.list_models():
            mark = "→" if model.name == current else " "
            self._say(f"{mark} {model.name} ({model.state})")

    async def _answer(self, text: str) -> None:
        """Stream the answer as it comes; at its end it stands there whole, and can be scrolled back to."""
        stream = self._client.stream_chat(text, session=self._session_id, **self._options)
        waiting = Spinner("dots", Text("…", style="dim"))
        live = Live(
            get_renderable=lambda: _Tail(stream.text) if stream.text else waiting,
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            vertical_overflow="visible",
        )
        note = None
        try:
            with _keys_kept(), live:
                async with stream:
                    reply = await stream.reply()
            took = f"{reply.usage.output_tokens} tokens · {reply.duration:.1f} s"
            cut = " · cut off at its limit" if reply.finish_reason is FinishReason.LENGTH else ""
            note = Text(f"{stream.model} · {took}{cut}", style="dim")
        except asyncio.CancelledError:
            note = Text("stopped", style="yellow")
            raise
        finally:
            if stream.text:
                self._console.print(_formatted(stream.text))
            if note is not None:
                self._console.print(note, end="\n\n")

    def _say(self, text: str, *, style: str = "dim") -> None:
        self._console.print(Text(text, style=style))


def _formatted(answer: str) -> Markdown:
    """Markdown, with the lines as the model broke them: of a poem, an address, code without a fence."""
    formatted = Markdown(answer)
    for token in formatted.parsed:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
    return formatted


class _Tail:
    """The end of an answer that grows: as many of its last lines as the screen has."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(_formatted(self._text), options, pad=False)
        for line in lines[1 - console.height :]:
            yield from line
            yield Segment.line()


@contextlib.contextmanager
def _keys_kept() -> Iterator[None]:
    """Keys that are pressed meanwhile wait for the next prompt; shown at once, they would tear the picture."""
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
