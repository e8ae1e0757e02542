"""The items that callers send, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from mcp_server.errors import InvalidArgument
from mcp_server.rules import Violations, shown
from mcp_server.values import (
    Blob,
    Message,
    Part,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from mcp_server.web.body import Shape, decode
from mcp_server.web.content import AUDIO, PLACEHOLDER, blob_of_base64, blob_of_file, blob_of_url
from mcp_server.web.openai.items import unsealed
from mcp_server.web.openai.messages import AudioPart, InputAudio, RefusalPart, image_of_url
from mcp_server.web.openai.names import MessageNames

Status = Literal["in_progress", "completed", "incomplete"] | None

# -- shapes -----------------------------------------------------------------------------------------------------------


class InputText(Shape, tag_field="type", tag="input_text"):
    """Text."""

    text: str


class OutputText(Shape, tag_field="type", tag="output_text"):
    """Text of a model. What it was received with may be sent back; it has no meaning here."""

    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class PlainText(Shape, tag_field="type", tag="text"):
    """Text, as it is called in conversations."""

    text: str


class InputImage(Shape, tag_field="type", tag="input_image"):
    """An image."""

    image_url: str | None = None
    detail: Literal["auto"] | None = None
    file_id: str | None = None


class InputFile(Shape, tag_field="type", tag="input_file"):
    """A file."""

    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    file_id: str | None = None


Content = InputText | OutputText | PlainText | InputImage | InputFile | AudioPart | RefusalPart


class MessageItem(Shape):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Content]
    type: Literal["message"] = "message"
    id: str | None = None
    status: Status = None
    phase: Literal["commentary", "final_answer"] | None = None


class CallItem(Shape):
    """A tool call."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status = None


class ResultItem(Shape):
    """The result of a tool call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Content]
    id: str | None = None
    status: Status = None


class ReasoningText(Shape):
    """A piece of reasoning."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningItem(Shape):
    """Reasoning."""

    type: Literal["reasoning"]
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Status = None


class _Kind(msgspec.Struct):
    type: str = "message"


_kind: Final = msgspec.json.Decoder(_Kind)
_ITEMS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "message": msgspec.json.Decoder(MessageItem),
    "function_call": msgspec.json.Decoder(CallItem),
    "function_call_output": msgspec.json.Decoder(ResultItem),
    "reasoning": msgspec.json.Decoder(ReasoningItem),
}


class ItemNames(MessageNames):
    """The path of the first item of a message, and then those of its parts, from the beginning."""

    __slots__ = ()

    def name(self, part: int | None, rest: str) -> str:
        """The path of the message, or of something in it."""
        if part is None or part + 1 >= len(self):
            return self[0] if rest == ".parts" else self[0] + rest
        path = self[part + 1]
        for ours, theirs in _OF_PART.items():
            if rest.startswith(ours):
                return path + theirs
        return path


_OF_PART: Final = {
    ".tool_result.tool_call_id": ".call_id",
    ".tool_call.id": ".call_id",
    ".tool_call.name": ".name",
    ".provider_state": ".encrypted_content",
}


class Input:
    """Messages, made of items.

    Args:
        found: gets what is wrong.
        field: the name of the field that has the items.
    """

    def __init__(self, found: Violations, field: str = "input") -> None:
        self.messages: list[Message] = []
        """The messages without instructions."""
        self.names: list[MessageNames] = []
        """The names of their parts."""
        self.instructions: list[str] = []
        """What SYSTEM messages before the first other item say."""
        self._found = found
        self._field = field

    def add(self, given: str | Sequence[msgspec.Raw] | None) -> Input:
        """Add a text, which is a message of the user, or items."""
        if isinstance(given, str):
            self._append(Role.USER, [Text(text=given)], [self._field])
        for number, raw in enumerate([] if given is None or isinstance(given, str) else given):
            path = f"{self._field}[{number}]"
            if (item := self._decoded(raw, path)) is not None:
                self._item(item, path)
        return self

    def _decoded(self, raw: msgspec.Raw, path: str) -> Any:
        try:
            kind = decode(_kind, bytes(raw)).type
            if (decoder := _ITEMS.get(kind)) is not None:
                return decode(decoder, bytes(raw))
            self._found.add(f"{path}.type", f"{shown(kind)} is not supported by this server: {', '.join(_ITEMS)} are")
        except InvalidArgument as error:
            for one in error.violations:
                self._found.add(f"{path}.{one.field}" if one.field else path, one.description)
        return None

    def _item(self, item: Any, path: str) -> None:
        if isinstance(item, MessageItem):
            self._message(item, path)
        elif isinstance(item, CallItem):
            call = ToolCall(id=item.call_id, name=item.name, arguments_json=item.arguments)
            self._answer([call], [path], path)
        elif isinstance(item, ResultItem):
            output, _ = self._content(item.output, f"{path}.output")
            parts = tuple([part for part in output if isinstance(part, Text | Blob)])
            if len(parts) < len(output):
                self._found.add(f"{path}.output", "must not contain a refusal")
            # An empty text says the same as none, which a result may have.
            parts = tuple([part for part in parts if not (isinstance(part, Text) and not part.text)])
            self._append(Role.TOOL, [ToolResult(tool_call_id=item.call_id, parts=parts)], [path])
        else:
            self._reasoning(item, path)

    def _message(self, item: MessageItem, path: str) -> None:
        parts, names = self._content(item.content, f"{path}.content")
        if item.role == "assistant":
            self._answer(parts, names, path)
        elif item.role == "user":
            self._append(Role.USER, parts, names, path)
        elif self.messages:
            self._found.add(f"{path}.role", f"must not be {item.role} after other items: instructions come first")
        else:
            if any(not isinstance(part, Text) for part in parts):
                self._found.add(f"{path}.content", f"must be text in a {item.role} message")
            self.instructions += [part.text for part in parts if isinstance(part, Text)]

    def _reasoning(self, item: ReasoningItem, path: str) -> None:
        text = "\n\n".join([each.text for each in (*(item.summary or ()), *(item.content or ()))])
        state = None
        if item.encrypted_content:
            try:
                state = unsealed(item.encrypted_content)
            except ValueError as error:
                self._found.add(f"{path}.encrypted_content", str(error))
        if text or state is None:
            self._answer([Reasoning(text=text, provider_state=state)], [path], path)
        else:
            self._answer([ProviderStatePart(provider_state=state)], [path], path)

    def _answer(self, parts: list[Part], names: list[str], path: str) -> None:
        """Add parts of an answer. Neighbouring ones are one message, in which results can follow all of its calls."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role is not Role.ASSISTANT or _ends_before(last, parts):
            self._append(Role.ASSISTANT, parts, names, path)
            return
        self.messages[-1] = msgspec.structs.replace(last, parts=(*last.parts, *parts))
        self.names[-1] = ItemNames((*self.names[-1], *names))

    def _append(self, role: Role, parts: Sequence[Part], names: Sequence[str], path: str = "") -> None:
        self.messages.append(Message(role=role, parts=tuple(parts)))
        self.names.append(ItemNames((path or names[0], *names)))

    def _content(self, content: str | list[Content], path: str) -> tuple[list[Part], list[str]]:
        if isinstance(content, str):
            return [Text(text=content)], [path]
        parts = [self._part(part, f"{path}[{number}]") for number, part in enumerate(content)]
        if not parts:
            self._found.add(path, "must not be empty")
        return [part for part, _ in parts] or [Text(text="-")], [name for _, name in parts] or [path]

    def _part(self, part: Content, path: str) -> tuple[Part, str]:
        if isinstance(part, InputText | OutputText | PlainText):
            return Text(text=part.text), f"{path}.text"
        if isinstance(part, RefusalPart):
            return Refusal(text=part.refusal), f"{path}.refusal"
        if isinstance(part, AudioPart):
            return self._audio(part.input_audio, f"{path}.input_audio.data")
        if part.file_id is not None:
            self._found.add(f"{path}.file_id", "is not supported by this server, which keeps no files: send the data")
            return PLACEHOLDER, path
        if isinstance(part, InputImage):
            return self._image(part.image_url, f"{path}.image_url")
        if part.file_url is not None:
            blob = blob_of_url(self._found, f"{path}.file_url", part.file_url, kind="application")
            return blob, f"{path}.file_url"
        if part.file_data is None:
            self._found.add(path, "must have file_data or a file_url")
            return PLACEHOLDER, path
        name = f"{path}.file_data"
        return blob_of_file(self._found, name, part.file_data, part.filename or ""), name

    def _audio(self, audio: InputAudio, path: str) -> tuple[Part, str]:
        return blob_of_base64(self._found, path, audio.data, AUDIO[audio.format]), path

    def _image(self, url: str | None, path: str) -> tuple[Part, str]:
        if url is None:
            self._found.add(path, "must be set")
            return PLACEHOLDER, path
        return image_of_url(self._found, path, url), path


def _ends_before(last: Message, parts: Sequence[Part]) -> bool:
    """Whether these parts begin a message of their own: a text after a text would otherwise become one with it."""
    content = (Text, Refusal, Blob)
    calls = any(isinstance(part, ToolCall) for part in last.parts)
    return isinstance(parts[0], content) and isinstance(last.parts[-1], content) and not calls
