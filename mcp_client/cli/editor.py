"""The prompt of a conversation: several lines, a history over runs, and completion of commands."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

from mcp_client.cli.history import history

QUOTES: Final = '"""'
"""Begins and ends a block of several lines."""

_PROMPT: Final[StyleAndTextTuples] = [("bold ansicyan", "> ")]
_CONTINUATION: Final = "  "


class Editor:
    """Reads messages from the terminal.

    Args:
        commands: the names that are completed, each with its slash.
    """

    def __init__(self, commands: Collection[str]) -> None:
        self._commands = sorted(commands)
        self._names: dict[str, Collection[str]] = {}
        self._prompt: PromptSession[str] = PromptSession(
            _PROMPT,
            multiline=True,
            prompt_continuation=_CONTINUATION,
            history=history(),
            completer=_CommandCompleter(self._commands, self._names),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            key_bindings=_keys(),
            enable_open_in_editor=True,
            enable_suspend=True,
        )

    def complete_argument(self, command: str, names: Collection[str]) -> None:
        """Complete the argument of a command with these names."""
        self._names[command] = names

    async def read(self) -> str:
        """Read one message or command, which may have several lines.

        Raises:
            EOFError: the user pressed Ctrl-D.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        return await self._prompt.prompt_async()


def block(text: str) -> str | None:
    """The text between ``\"\"\"`` and ``\"\"\"``; ``None`` if it is not such a block."""
    text = text.strip()
    if not text.startswith(QUOTES):
        return None
    return text.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")


def _is_open(text: str) -> bool:
    """Whether a block has begun and not ended."""
    text = text.strip()
    return text.startswith(QUOTES) and (len(text) < 2 * len(QUOTES) or not text.endswith(QUOTES))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        """Send the message, unless it is a block that has not ended."""
        buffer = event.current_buffer
        if _is_open(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def begin_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


class _CommandCompleter(Completer):
    """Completes the names of commands, and the arguments that have a list of names."""

    def __init__(self, commands: Collection[str], names: dict[str, Collection[str]]) -> None:
        self._commands = commands
        self._names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        typed = document.text_before_cursor
        command, space, argument = typed.partition(" ")
        choices, start = (self._names.get(command, ()), argument) if space else (self._commands, typed)
        if not typed.startswith("/"):
            return
        for name in choices:
            if name.startswith(start):
                yield Completion(name, start_position=-len(start))
