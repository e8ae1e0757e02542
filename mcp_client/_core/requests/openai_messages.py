"""Converts messages in OpenAI's form, the dicts that most programs already have.

https://platform.openai.com/docs/api-reference/chat/create describes them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from mcp_client.values import Blob, Message, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from mcp_client.values.image import Image

_ROLES: Final = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}
_FIELDS: Final = {
    Role.SYSTEM: ("role", "content", "name"),
    Role.USER: ("role", "content", "name"),
    Role.ASSISTANT: ("role", "content", "name", "refusal", "reasoning_content", "tool_calls"),
    Role.TOOL: ("role", "content", "tool_call_id"),
}
_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def message(value: Mapping[str, Any], where: str) -> Message:
    """A message.

    Args:
        value: in OpenAI's form.
        where: the path of the message, for errors.

    Raises:
        TypeError, ValueError: it is no such message; the error says what is wrong, where, and what is allowed.
    """
    name = _text(value.get("role"), f"{where}.role") if "role" in value else ""
    if name not in _ROLES:
        raise ValueError(f"{where}.role: expected {_listed(_ROLES)}, not {name!r}")
    role = _ROLES[name]
    _check_fields(value, _FIELDS[role], where)
    parts = _result(value, where) if role is Role.TOOL else _others(value, where)
    if not parts:
        raise ValueError(f"{where}.content: the message is empty")
    speaker = value.get("name")
    return Message(role=role, parts=parts, name="" if speaker is None else _text(speaker, f"{where}.name"))


def _result(value: Mapping[str, Any], where: str) -> Sequence[Part]:
    """The part of a message with the role ``tool``."""
    if "tool_call_id" not in value:
        raise ValueError(f"{where}.tool_call_id: missing; expected the id of the tool call that is answered")
    call = _text(value["tool_call_id"], f"{where}.tool_call_id")
    content = _content(value, where)
    if refusals := [number for number, piece in enumerate(content) if isinstance(piece, Refusal)]:
        allowed = [kind for kind in _PARTS if kind != "refusal"]
        raise ValueError(f"{where}.content[{refusals[0]}].type: expected {_listed(allowed)}, not 'refusal'")
    pieces = [piece for piece in content if isinstance(piece, Text | Blob)]
    return (ToolResult(tool_call_id=call, parts=tuple(pieces)),)


def _others(value: Mapping[str, Any], where: str) -> Sequence[Part]:
    """The parts of all other messages."""
    parts: list[Part] = []
    if reasoning := value.get("reasoning_content"):
        parts.append(Reasoning(text=_text(reasoning, f"{where}.reasoning_content")))
    parts += _content(value, where)
    if refusal := value.get("refusal"):
        parts.append(Refusal(text=_text(refusal, f"{where}.refusal")))
    calls = value.get("tool_calls")
    if calls is not None:
        for number, call in enumerate(_list(calls, f"{where}.tool_calls")):
            parts.append(_call(call, f"{where}.tool_calls[{number}]"))
    return tuple(parts)


def _content(value: Mapping[str, Any], where: str) -> list[Part]:
    content = value.get("content")
    if content is None and value["role"] == "assistant":
        return []
    if isinstance(content, str):
        return [Text(text=content)] if content else []
    path = f"{where}.content"
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        raise TypeError(f"{path}: expected a text or a list of parts, not {_kind(content)}")
    return [_part(item, f"{path}[{number}]") for number, item in enumerate(content)]


def _part(value: Any, where: str) -> Part:
    if isinstance(value, str):
        return Text(text=value)
    if isinstance(value, Text | Blob):
        return value
    part = _mapping(value, where)
    kind = _text(part.get("type"), f"{where}.type")
    if kind not in _PARTS:
        raise ValueError(f"{where}.type: expected {_listed(_PARTS)}, not {kind!r}")
    _check_fields(part, ("type", kind), where)
    if kind not in part:
        raise ValueError(f"{where}.{kind}: missing")
    return _PARTS[kind](part[kind], f"{where}.{kind}")


def _image(value: Any, where: str) -> Blob:
    if isinstance(value, str):
        url, place = value, where
    else:
        image = _mapping(value, where)
        _check_fields(image, ("url", "detail"), where)
        if image.get("detail") not in (None, "auto"):
            raise ValueError(f"{where}.detail: expected 'auto', not {image['detail']!r}")
        place = f"{where}.url"
        url = _text(image.get("url"), place)
    try:
        return Image.from_url(url)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _audio(value: Any, where: str) -> Blob:
    audio = _mapping(value, where)
    _check_fields(audio, ("data", "format"), where)
    kind = audio.get("format")
    if kind not in _AUDIO:
        raise ValueError(f"{where}.format: expected {_listed(_AUDIO)}, not {kind!r}")
    try:
        data = base64.b64decode(_text(audio.get("data"), f"{where}.data"), validate=True)
    except ValueError as error:
        raise ValueError(f"{where}.data: expected base64: {error}") from error
    return Blob(mime_type=_AUDIO[kind], data=data)


_PARTS: Final[Mapping[str, Callable[[Any, str], Part]]] = {
    "text": lambda value, where: Text(text=_text(value, where)),
    "refusal": lambda value, where: Refusal(text=_text(value, where)),
    "image_url": _image,
    "input_audio": _audio,
}
"""The kinds of parts. Each has its content in the field of its name."""


def _call(value: Any, where: str) -> ToolCall:
    call = _mapping(value, where)
    _check_fields(call, ("id", "type", "function", "index"), where)
    if call.get("type", "function") != "function":
        raise ValueError(f"{where}.type: expected 'function', not {call['type']!r}")
    function = _mapping(call.get("function"), f"{where}.function")
    _check_fields(function, ("name", "arguments"), f"{where}.function")
    arguments = function.get("arguments", "{}")
    return ToolCall(
        id=_text(call.get("id"), f"{where}.id"),
        name=_text(function.get("name"), f"{where}.function.name"),
        arguments_json=arguments if isinstance(arguments, str) else _json(arguments, f"{where}.function.arguments"),
    )


def _json(value: Any, where: str) -> str:
    return json.dumps(dict(_mapping(value, where)), allow_nan=False)


def _check_fields(value: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    """Refuse fields that would be lost. Empty ones, of which the answers of OpenAI's client are full, lose nothing."""
    for field, content in value.items():
        if field not in allowed and content is not None and content != []:
            raise ValueError(f"{where}: unknown field {field!r}; allowed: {', '.join(allowed)}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where}: expected a dict, not {_kind(value)}")
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{where}: expected a list, not {_kind(value)}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where}: expected a text, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _listed(names: Iterable[Any]) -> str:
    return " or ".join(map(repr, names))
