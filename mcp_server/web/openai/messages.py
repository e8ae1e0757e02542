"""The conversation of a chat: OpenAI's messages as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mcp_server.rules import Violations
from mcp_server.values import (
    Blob,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from mcp_server.web.body import Shape
from mcp_server.web.content import AUDIO, blob_of_base64, blob_of_file, blob_of_url
from mcp_server.web.openai.names import MessageNames

# -- parts ------------------------------------------------------------------------------------------------------------


class TextPart(Shape, tag_field="type", tag="text"):
    """Text."""

    text: str


class RefusalPart(Shape, tag_field="type", tag="refusal"):
    """The words with which a model declined."""

    refusal: str


class ImageURL(Shape):
    """Where an image is, or the image itself."""

    url: str
    detail: Literal["auto"] | None = None


class ImagePart(Shape, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageURL


class InputAudio(Shape):
    """Audio in Base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Shape, tag_field="type", tag="input_audio"):
    """Audio."""

    input_audio: InputAudio


class File(Shape):
    """A file as a ``data:`` URL."""

    file_data: str
    filename: str = ""


class FilePart(Shape, tag_field="type", tag="file"):
    """A file."""

    file: File


Content = str | list[TextPart | RefusalPart | ImagePart | AudioPart | FilePart] | None


# -- messages ---------------------------------------------------------------------------------------------------------


class SystemMessage(Shape, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextPart]
    name: str | None = None


class DeveloperMessage(SystemMessage, tag_field="role", tag="developer"):
    """Instructions, by their newer name."""


class UserMessage(Shape, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[TextPart | ImagePart | AudioPart | FilePart]
    name: str | None = None


class FunctionCall(Shape):
    """What is called."""

    name: str
    arguments: str


class Call(Shape):
    """A tool call."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None
    """Of a call that was taken from a stream; it has no meaning here."""


class AssistantMessage(Shape, tag_field="role", tag="assistant"):
    """An earlier answer. What answers never have may be sent back as it was received: as ``null``."""

    content: str | list[TextPart | RefusalPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None
    name: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(Shape, tag_field="role", tag="tool"):
    """The result of a tool call."""

    content: str | list[TextPart]
    tool_call_id: str
    name: str | None = None
    """The name of the tool, which older clients send; the call has it."""


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

_TEXT_ONLY = ("content",)


def conversation(found: Violations, given: Sequence[AnyMessage]) -> tuple[tuple[Message, ...], list[MessageNames]]:
    """The messages, and the names of their parts."""
    messages: list[Message] = []
    names: list[MessageNames] = []
    for index, message in enumerate(given):
        path = f"messages[{index}]"
        if isinstance(message, ToolMessage):
            converted, parts = _result(message)
        elif isinstance(message, AssistantMessage):
            converted, parts = _answer(found, path, message)
        else:
            role = Role.USER if isinstance(message, UserMessage) else Role.SYSTEM
            content, parts = _content(found, path, message.content)
            converted = Message(role=role, parts=content, name=message.name or "")
        messages.append(converted)
        names.append(MessageNames((path, *parts)))
    return tuple(messages), names


def _content(found: Violations, path: str, content: Any) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """The parts of a content, and their names."""
    if isinstance(content, str):
        return (Text(text=content),), _TEXT_ONLY
    parts: list[Part] = []
    names: list[str] = []
    for index, part in enumerate(content):
        where = f"content[{index}]"
        if isinstance(part, TextPart):
            parts.append(Text(text=part.text))
            names.append(f"{where}.text")
        elif isinstance(part, RefusalPart):
            parts.append(Refusal(text=part.refusal))
            names.append(f"{where}.refusal")
        else:
            blob, name = _blob(found, f"{path}.{where}", part)
            parts.append(blob)
            names.append(f"{where}.{name}")
    return tuple(parts), tuple(names)


def _blob(found: Violations, path: str, part: ImagePart | AudioPart | FilePart) -> tuple[Blob, str]:
    """What is not text, and the name of the field that holds it."""
    if isinstance(part, ImagePart):
        return image_of_url(found, f"{path}.image_url.url", part.image_url.url), "image_url.url"
    if isinstance(part, AudioPart):
        audio = part.input_audio
        return blob_of_base64(found, f"{path}.input_audio.data", audio.data, AUDIO[audio.format]), "input_audio.data"
    return blob_of_file(found, f"{path}.file.file_data", part.file.file_data, part.file.filename), "file.file_data"


def image_of_url(found: Violations, field: str, url: str) -> Blob:
    """The image that a ``data:`` URL holds, or a reference to it.

    Args:
        found: what is wrong.
        field: where the URL stands, as the caller writes it.
        url: the URL.
    """
    blob = blob_of_url(found, field, url)
    if not blob.mime_type.startswith("image/"):
        if blob.uri:  # an address may end with anything
            return Blob(mime_type="image/*", uri=blob.uri)
        found.add(field, "must be an image: its type must begin with image/")
    return blob


def _answer(found: Violations, path: str, message: AssistantMessage) -> tuple[Message, tuple[str, ...]]:
    parts: list[Part] = []
    names: list[str] = []
    if message.reasoning_content:
        parts.append(Reasoning(text=message.reasoning_content))
        names.append("reasoning_content")
    calls = message.tool_calls or ()
    if message.content or (message.content is not None and not message.refusal and not calls):
        content, of_content = _content(found, path, message.content)
        parts += content
        names += of_content
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
        names.append("refusal")
    for index, call in enumerate(calls):
        parts.append(ToolCall(id=call.id, name=call.function.name, arguments_json=call.function.arguments))
        names.append(f"tool_calls[{index}]")
    if message.annotations:
        found.add(f"{path}.annotations", "is not supported by this server: leave it out")
    if not parts:
        found.add(path, "must have content, a refusal, or tool_calls")
        parts.append(Text(text=""))
        names.append("content")
    return Message(role=Role.ASSISTANT, parts=tuple(parts), name=message.name or ""), tuple(names)


def _result(message: ToolMessage) -> tuple[Message, tuple[str, ...]]:
    pieces = [message.content] if isinstance(message.content, str) else [part.text for part in message.content]
    result = ToolResult(tool_call_id=message.tool_call_id, parts=tuple([Text(text=piece) for piece in pieces if piece]))
    return Message(role=Role.TOOL, parts=(result,)), _TEXT_ONLY
