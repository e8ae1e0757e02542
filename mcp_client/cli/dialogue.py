"""The loop of a conversation in the terminal: read, run a command or ask the model."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console
from rich.text import Text

from mcp_client import MCPError, RetryNotice, TurnOptions
from mcp_client.cli.connection import Connection
from mcp_client.cli.conversation import Conversation
from mcp_client.cli.editor import Editor, block
from mcp_client.cli.run import retry_line
from mcp_client.cli.slash_commands import COMMANDS
from mcp_client.cli.terminal import visible

_QUIT: Final = "/quit"


def converse(
    connection: Connection, *, session: str | None, system: str, ttl: float | None, options: TurnOptions
) -> None:
    """Run a conversation until the user leaves."""
    with asyncio.Runner() as runner:
        console = Console(highlight=False)

        def print_retry(notice: RetryNotice) -> None:
            if line := retry_line(notice):
                console.print(Text(visible(line), style="dim"))

        conversation = Conversation(connection.client(print_retry), console, options, system=system, ttl=ttl)
        dialogue = Dialogue(conversation, Editor([*COMMANDS, _QUIT]))
        try:
            runner.run(conversation.start(session))
            while True:
                try:
                    text = runner.run(dialogue.ask())
                    if text is None:
                        break
                    runner.run(dialogue.take(text))
                except KeyboardInterrupt:
                    continue
        finally:
            runner.run(conversation.close())


class Dialogue:
    """Reads messages and commands of the user: sends the messages, runs the commands."""

    def __init__(self, conversation: Conversation, editor: Editor) -> None:
        self._conversation = conversation
        self._editor = editor

    async def ask(self) -> str | None:
        """Read the next message or command; ``None`` when the user leaves. Ctrl-C clears it, a second one leaves."""
        interrupted = False
        while True:
            try:
                text = (await self._editor.read()).strip()
            except EOFError:
                return None
            except KeyboardInterrupt:
                if interrupted:
                    return None
                interrupted = True
                self._conversation.print("Ctrl-C again, or Ctrl-D, leaves")
                continue
            if text == _QUIT:
                return None
            if text:
                return text

    async def take(self, text: str) -> None:
        """Run a command, or send the text to the model."""
        try:
            await self._take(text)
        except (MCPError, ValueError) as error:
            self._conversation.print(f"{error}\n", style="red")

    async def _take(self, text: str) -> None:
        if (message := block(text)) is not None:
            await self._conversation.answer(message)
            return
        name = text.split(maxsplit=1)[0]
        if command := COMMANDS.get(name):
            await command.run(self._conversation, text.removeprefix(name).strip())
            if self._conversation.models:
                self._editor.complete_argument("/model", self._conversation.models)
        elif name.startswith("/") and "\n" not in text:
            self._conversation.print(f"unknown command {name}; /help lists the commands", style="yellow")
        else:
            await self._conversation.answer(text)
