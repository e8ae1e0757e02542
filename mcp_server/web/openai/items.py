"""Messages as items, the form in which the API lists them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from mcp_server.values import (
    Blob,
    Logprob,
    Message,
    Part,
    ProviderState,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from mcp_server.web.openai.identifiers import answer_item_id, item_id
from mcp_server.web.openai.logprobs import token_objects

Item = dict[str, Any]
"""An item in JSON."""

_CONTENT: Final = (Text, Refusal, Blob)
"""The parts that are content of a ``message``; every other part is an item of its own."""
_AUDIO: Final = {"audio/wav": "wav", "audio/mpeg": "mp3"}


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants items to contain."""

    summaries: bool = False
    """Whether reasoning is put into ``summary``, and not into ``content``."""
    encrypted: bool = False
    """Whether reasoning has ``encrypted_content``."""
    logprobs: bool = False
    """Whether text of the model has its log probabilities."""


PLAIN: Final = Form()


def grouped(parts: Sequence[Part]) -> Iterator[Sequence[Part]]:
    """The parts of each item: neighbouring texts, refusals and blobs are one."""
    group: list[Part] = []
    for part in parts:
        if group and not isinstance(part, _CONTENT):
            yield group
            group = []
        if isinstance(part, _CONTENT):
            group.append(part)
        else:
            yield [part]
    if group:
        yield group


def items_of(message: Message, form: Form = PLAIN) -> list[Item]:
    """The items of a stored message."""
    groups = enumerate(grouped(message.parts))
    return [_item(parts, item_id(message, type(parts[0]), number), message.role, form) for number, parts in groups]


def answer_items(turn: str, parts: Sequence[Part], form: Form = PLAIN, status: str = "completed") -> list[Item]:
    """The items of an answer.

    Args:
        turn: the id of the turn.
        parts: the answer, as far as it has come.
        form: what the items contain.
        status: the status of the last one; the others are completed.
    """
    items = [
        _item(group, answer_item_id(turn, type(group[0]), number), Role.ASSISTANT, form)
        for number, group in enumerate(grouped(parts))
    ]
    if items and status != "completed":
        items[-1]["status"] = status
    return items


def _item(parts: Sequence[Part], id: str, role: Role, form: Form) -> Item:
    part = parts[0]
    if isinstance(part, ToolCall):
        return call_item(id, part.id, part.name, part.arguments_json)
    if isinstance(part, ToolResult):
        return _result_item(id, part)
    if isinstance(part, Reasoning):
        return reasoning_item(id, part.text, part.provider_state, form)
    if isinstance(part, ProviderStatePart):
        return reasoning_item(id, "", part.provider_state, form)
    content = [_output(each) if role is Role.ASSISTANT else _input(each) for each in parts]
    return message_item(id, content, role=role)


def message_item(id: str, content: list[Item], status: str = "completed", role: Role = Role.ASSISTANT) -> Item:
    """A ``message``."""
    return {"id": id, "type": "message", "status": status, "role": role.value, "content": content}


def call_item(id: str, call: str, name: str, arguments: str, status: str = "completed") -> Item:
    """A ``function_call``."""
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call,
        "name": name,
        "arguments": arguments,
    }


def reasoning_item(id: str, text: str, state: ProviderState | None, form: Form, status: str = "completed") -> Item:
    """A ``reasoning`` item."""
    item: Item = {"id": id, "type": "reasoning", "status": status, "summary": []}
    if text:
        item["summary" if form.summaries else "content"] = [reasoning_part(text, form)]
    if form.encrypted and state is not None:
        item["encrypted_content"] = sealed(state)
    return item


def reasoning_part(text: str, form: Form) -> Item:
    """The content of a ``reasoning`` item."""
    return {"type": "summary_text" if form.summaries else "reasoning_text", "text": text}


def text_part(text: str, logprobs: Sequence[Logprob] = ()) -> Item:
    """An ``output_text``."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": token_objects(logprobs)}


def refusal_part(text: str) -> Item:
    """A ``refusal``."""
    return {"type": "refusal", "refusal": text}


def _result_item(id: str, result: ToolResult) -> Item:
    parts = result.parts
    texts = [part.text for part in parts if isinstance(part, Text)]
    output: Any = texts[0] if len(texts) == len(parts) == 1 else [_input(part) for part in parts]
    return {
        "id": id,
        "type": "function_call_output",
        "status": "completed",
        "call_id": result.tool_call_id,
        "output": output,
    }


def _output(part: Part) -> Item:
    if isinstance(part, Text):
        return text_part(part.text)
    return refusal_part(part.text) if isinstance(part, Refusal) else _input(part)


def _input(part: Part) -> Item:
    if isinstance(part, Blob):
        return _blob(part)
    assert isinstance(part, Text)
    return {"type": "input_text", "text": part.text}


def _blob(blob: Blob) -> Item:
    url = blob.uri or f"data:{blob.mime_type};base64,{base64.b64encode(blob.data).decode()}"
    if blob.mime_type.startswith("image/"):
        return {"type": "input_image", "detail": "auto", "image_url": url}
    if blob.mime_type in _AUDIO and blob.data:
        audio = {"data": base64.b64encode(blob.data).decode(), "format": _AUDIO[blob.mime_type]}
        return {"type": "input_audio", "input_audio": audio}
    return {"type": "input_file", "file_url" if blob.uri else "file_data": url}


# -- what a provider needs to receive back ----------------------------------------------------------------------------


def sealed(state: ProviderState) -> str:
    """A state as the text that callers keep."""
    return base64.b64encode(msgspec.msgpack.encode([state.provider, state.model, state.data])).decode()


def unsealed(text: str) -> ProviderState:
    """The state in such a text.

    Raises:
        ValueError: there is none.
    """
    try:
        provider, model, data = _decode_state(base64.b64decode(text, validate=True))
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError("is not encrypted content of this server") from error
    return ProviderState(provider=provider, model=model, data=data)


_decode_state: Final[Callable[[bytes], tuple[str, str, bytes]]] = msgspec.msgpack.Decoder(tuple[str, str, bytes]).decode
