"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from mcp_client import FinishReason, MCPClient, Message, Role, Session, TurnOptions
from mcp_client.cli.answer import FormattedAnswer, Tail
from mcp_client.cli.lifecycle import delete_if_empty, open_session, require_settings
from mcp_client.cli.run import first
from mcp_client.cli.terminal import visible

REFRESH_PER_SECOND = 12


class Conversation:
    """A conversation of one user with one server, in one session at a time.

    Args:
        client: of the server, which :meth:`close` closes.
        console: the terminal.
        options: of each turn.
        system: the system instruction of sessions that are created.
        ttl: how long sessions that are created are kept unused, in seconds; ``None``: as long as the server says.
    """

    def __init__(
        self, client: MCPClient, console: Console, options: TurnOptions, *, system: str = "", ttl: float | None = None
    ) -> None:
        self.client = client
        self._console = console
        self._options = options
        self._system = system
        self._ttl = ttl
        self.models: Sequence[str] = ()
        """The names of the models, once they were listed."""
        self._session: Session | None = None
        self._created: Session | None = None
        self._unanswered: str | Message | None = None
        """The last message, if its turn failed or was stopped."""

    @property
    def session_id(self) -> str:
        """The id of the current session."""
        assert self._session is not None
        return self._session.id

    async def start(self, session: str | None) -> None:
        """Begin with a session, which is created if it does not exist.

        Raises:
            ValueError: it exists, with another system instruction or ttl than new sessions.
        """
        await self.open(session, check_settings=True)

    async def open(self, session: str | None, *, check_settings: bool = False) -> None:
        """Switch to a session, which is created if it does not exist, and print its name."""
        opened, is_new = await open_session(self.client, session, system=self._system, ttl=self._ttl)
        if check_settings and not is_new:
            require_settings(opened, system=self._system, ttl=self._ttl)
        await self._delete_created()
        self._session, self._created, self._unanswered = opened, None if session else opened, None
        count = self._session.message_count
        history = f" ({count} message{'s' * (count != 1)} so far)" if count else ""
        new = "new " if is_new and session else ""
        self.print(f"{new}session {self._session.id}{history} · {await self._model()} · /help\n")

    async def choose_model(self, name: str) -> None:
        """Switch to another model, or list them without a name."""
        if name:
            model = await self.client.get_model(name)
            self._options["model"] = model.name
            self.print(f"switched to {model.name}")
            return
        current, models = await self._model(), await self.client.list_models()
        self.models = [model.name for model in models]
        for model in models:
            mark = "→" if model.name == current else " "
            self.print(f"{mark} {model.name} ({model.state})")

    async def show_history(self, limit: int) -> None:
        """Print the last messages of the session."""
        found = await first(limit, self.client.list_messages(self.session_id, newest_first=True))
        for message in reversed(found):
            self.print(str(message.role))
            self._console.print(FormattedAnswer(message.text), end="\n\n")

    async def retry(self) -> None:
        """Answer the last message again: the one that was not answered, or else the last one of the history."""
        if self._unanswered is not None:
            await self.answer(self._unanswered)
            return
        async for message in self.client.list_messages(self.session_id, newest_first=True):
            if message.role is Role.USER:
                await self.client.rewind_session(self.session_id, message.index)
                await self.answer(message)
                return
        raise ValueError("the session has no message to answer again")

    def print(self, text: str, *, style: str = "dim") -> None:
        """Print a text that is not an answer."""
        self._console.print(Text(visible(text), style=style))

    async def close(self) -> None:
        """Close the connection, after deleting a session that was created here and has no messages."""
        await self._delete_created()
        await self.client.close()

    async def _delete_created(self) -> None:
        if self._created is not None:
            await delete_if_empty(self.client, self._created)

    async def _model(self) -> str:
        """The name of the model of the next answer."""
        assert self._session is not None
        chosen = self._options.get("model") or self._session.default_model
        if chosen:
            return (await self.client.get_model(chosen)).name
        return next((model.name for model in await self.client.list_models() if model.is_default), "no default model")

    async def answer(self, message: str | Message) -> None:
        """Show the answer while it is generated; at its end print it completely, so that it can be scrolled back to."""
        self._unanswered = message
        stream = self.client.stream_chat(message, session=self.session_id, **self._options)
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
            self._unanswered = None
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
