"""The commands of a conversation in the terminal, which begin with a slash."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_client import ContextEntry
from mcp_client.cli.conversation import Conversation
from mcp_client.cli.transcript import Transcript, transcript_of

_HISTORY_LENGTH: Final = 20
_PRIVATE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class SlashCommand:
    """A command of a conversation."""

    arguments: str = ""
    """How the arguments are written in the help."""
    help: str
    run: Callable[[Conversation, str], Awaitable[None]]
    """Called with the conversation and what follows the name."""


async def _help(conversation: Conversation, argument: str) -> None:
    width = max([len(f"{name} {command.arguments}") for name, command in COMMANDS.items()])
    lines = [f"{f'{name} {command.arguments}':{width}}  {command.help}" for name, command in COMMANDS.items()]
    conversation.print("\n".join([*lines, f"{'/quit':{width}}  leave, like Ctrl-D", _KEYS]))


async def _new(conversation: Conversation, argument: str) -> None:
    await conversation.open(None)


async def _session(conversation: Conversation, argument: str) -> None:
    await conversation.open(argument or conversation.session_id)


async def _model(conversation: Conversation, argument: str) -> None:
    await conversation.choose_model(argument)


async def _system(conversation: Conversation, argument: str) -> None:
    client, session = conversation.client, conversation.session_id
    if argument:
        await client.update_session(session, system_instruction=argument)
        conversation.print("system instruction set")
    else:
        conversation.print((await client.get_session(session)).system_instruction or "no system instruction")


async def _history(conversation: Conversation, argument: str) -> None:
    try:
        limit = int(argument) if argument else _HISTORY_LENGTH
    except ValueError:
        raise ValueError(f"expected a number of messages, not {argument!r}") from None
    await conversation.show_history(limit)


async def _retry(conversation: Conversation, argument: str) -> None:
    await conversation.retry()


async def _fork(conversation: Conversation, argument: str) -> None:
    forked = await conversation.client.fork_session(conversation.session_id, argument)
    await conversation.open(forked.id)


async def _context(conversation: Conversation, argument: str) -> None:
    client, session = conversation.client, conversation.session_id
    name, _, text = argument.partition(" ")
    if text.strip():
        await client.update_session(session, set_context={name: ContextEntry(text=text.strip())})
        conversation.print(f"context {name} set")
        return
    entries = (await client.get_session(session)).context
    if name and name not in entries:
        raise ValueError(f"the context has no entry {name}")
    shown = {name: entries[name]} if name else entries
    conversation.print("\n".join([f"{key}: {_entry(entry)}" for key, entry in sorted(shown.items())]) or "no context")


async def _forget(conversation: Conversation, argument: str) -> None:
    client, session = conversation.client, conversation.session_id
    if argument not in (await client.get_session(session)).context:
        raise ValueError(f"the context has no entry {argument!r}; /context lists the entries")
    await client.update_session(session, remove_context=[argument])
    conversation.print(f"context {argument} removed")


async def _save(conversation: Conversation, argument: str) -> None:
    if not argument:
        raise ValueError("expected the path of a new file: Markdown, or JSON if its name ends in .json")
    transcript = await transcript_of(conversation.client, conversation.session_id)
    conversation.print(f"saved as {_write(transcript, argument)}")


def _write(transcript: Transcript, name: str) -> Path:
    """Write a new file that only its owner can read."""
    path = Path(name).expanduser()
    text = transcript.to_json() + "\n" if path.suffix == ".json" else transcript.to_markdown()
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write(text)
    return path


def _entry(entry: ContextEntry) -> str:
    if entry.text is not None:
        return entry.text
    if entry.data is not None:
        return f"{len(entry.data)} bytes of {entry.mime_type or entry.type}"
    return json.dumps(entry.json, ensure_ascii=False)


COMMANDS: Final[Mapping[str, SlashCommand]] = {
    "/help": SlashCommand(help="show this help", run=_help),
    "/new": SlashCommand(help="start a new session", run=_new),
    "/session": SlashCommand(
        arguments="[NAME]", help="switch to another session, or show the current one", run=_session
    ),
    "/model": SlashCommand(arguments="[NAME]", help="switch to another model, or list them", run=_model),
    "/system": SlashCommand(arguments="[TEXT]", help="set the system instruction, or show it", run=_system),
    "/context": SlashCommand(
        arguments="[NAME [TEXT]]", help="set an entry of the context, or show the entries", run=_context
    ),
    "/forget": SlashCommand(arguments="NAME", help="remove an entry of the context", run=_forget),
    "/history": SlashCommand(arguments="[N]", help=f"show the last messages ({_HISTORY_LENGTH})", run=_history),
    "/retry": SlashCommand(help="answer the last message again, in place of its answer", run=_retry),
    "/fork": SlashCommand(arguments="[NAME]", help="continue in a copy of the session", run=_fork),
    "/save": SlashCommand(
        arguments="FILE", help="write the session to a new file: Markdown, or JSON if it ends in .json", run=_save
    ),
}
"""The commands by name, without ``/quit``."""

_KEYS: Final = '''\
Alt-Enter begins a new line, and so does Enter between """ and """. Tab completes commands, Ctrl-R searches the history.
Ctrl-C stops an answer. A stopped answer and its message are not part of the history; /retry sends the message again.'''
