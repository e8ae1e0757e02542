"""Conversations as files: JSON that ``mcp-client sessions import`` reads, and Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec

from mcp_client import (
    Blob,
    ContextEntry,
    MCPClient,
    Message,
    Part,
    Refusal,
    Role,
    Session,
    Text,
    ToolCall,
    ToolResult,
)
from mcp_client.values.plain import plain, plain_fields

_PARTS: Final[Mapping[str, Any]] = {part._kind: part for part in get_args(Part)}
"""The kinds of parts by the name that files have for them."""
_FORMAT: Final = "contextprotocol-session/1"
_COPIED: Final = ("labels", "metadata", "system_instruction", "default_model", "ttl")
"""The fields of a session that an import restores as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A session and its history."""

    session: Session
    messages: Sequence[Message]

    def to_json(self) -> str:
        """A JSON object that :func:`read_transcript` reads."""
        session = self.session
        value = {
            "format": _FORMAT,
            "id": session.id,
            "create_time": session.create_time.isoformat(),
            **{name: getattr(session, name) for name in _COPIED},
            "context": plain(session.context),
            "messages": [_from_message(message) for message in self.messages],
        }
        return json.dumps(value, indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        """A heading for each message, and its parts."""
        sections = [f"# {self.session.id}"]
        if self.session.system_instruction:
            sections.append(f"## system\n\n{self.session.system_instruction}")
        for message in self.messages:
            model = f" ({message.model})" if message.model else ""
            body = "\n\n".join([shown for part in message.parts if (shown := _markdown(part))])
            sections.append(f"## {message.role}{model}\n\n{body}")
        return "\n\n".join(sections) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The session that a file describes."""

    id: str
    settings: Mapping[str, Any]
    """The keyword arguments of ``create_session``."""
    messages: Sequence[Message]


async def transcript_of(client: MCPClient, session: str) -> Transcript:
    """Read a session with its whole history."""
    return Transcript(
        session=await client.get_session(session),
        messages=[message async for message in client.list_messages(session, page_size=1000)],
    )


def read_transcript(text: str) -> Imported:
    """The session that the text of :meth:`Transcript.to_json` describes.

    Raises:
        ValueError: it is not such a text.
    """
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise ValueError(f"expected a JSON object with the format {_FORMAT}")
        settings = {name: value[name] for name in _COPIED if value.get(name) is not None}
        settings["context"] = msgspec.convert(value.get("context", {}), dict[str, ContextEntry])
        messages = [_to_message(item) for item in value["messages"]]
        return Imported(id=str(value.get("id", "")), settings=settings, messages=messages)
    except KeyError as error:
        raise ValueError(f"not an exported session: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"not an exported session: {error}") from error


def _from_message(message: Message) -> dict[str, Any]:
    facts: dict[str, Any] = {"role": str(message.role)}
    if message.name:
        facts["name"] = message.name
    if message.model:
        facts["model"] = message.model
    if message.create_time is not None:
        facts["create_time"] = message.create_time.isoformat()
    return {**facts, "parts": [_from_part(part) for part in message.parts]}


def _from_part(part: Part) -> dict[str, Any]:
    value = {name: item for name, item in plain_fields(part).items() if item not in (None, "")}
    if isinstance(part, ToolResult):
        value["parts"] = [_from_part(item) for item in part.parts]
    return value


def _to_message(value: Mapping[str, Any]) -> Message:
    parts = [_to_part(part) for part in value["parts"]]
    return Message(role=Role(value["role"]), name=value.get("name", ""), parts=parts)


def _to_part(value: Mapping[str, Any]) -> Any:
    fields = dict(value)
    kind = _PARTS.get(fields.pop("type", ""))
    if kind is None:
        raise ValueError(f"a part has the type {value.get('type')!r}, expected one of {', '.join(_PARTS)}")
    if kind is ToolResult:
        return ToolResult(
            tool_call_id=fields["tool_call_id"],
            is_error=fields.get("is_error", False),
            parts=[_to_part(part) for part in fields.get("parts", ())],
        )
    return msgspec.convert(fields, kind)


def _markdown(part: Part) -> str:
    if isinstance(part, Text | Refusal):
        return part.text
    if isinstance(part, Blob):
        return f"[{part.mime_type}{f' {part.uri}' if part.uri.startswith('https:') else ''}]"
    if isinstance(part, ToolCall):
        return f"`{part.name}({part.arguments_json})`"
    if isinstance(part, ToolResult):
        return "\n\n".join([_markdown(item) for item in part.parts])
    return ""
