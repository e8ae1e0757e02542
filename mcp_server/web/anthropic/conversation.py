"""The conversation of a request: Anthropic's messages as ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mcp_server.rules import Violations
from mcp_server.values import (
    Blob,
    Message,
    Part,
    ProviderStatePart,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from mcp_server.web.anthropic.blocks import (
    AnyMessage,
    AssistantMessage,
    Base64Source,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    RedactedThinkingBlock,
    System,
    TextBlock,
    TextSource,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    URLSource,
    UserMessage,
)
from mcp_server.web.anthropic.thinking import state_of
from mcp_server.web.content import PLACEHOLDER, blob_of_base64
from mcp_server.web.names import MessageNames
from mcp_server.web.parameters import raw_text

_WITHIN: Final = (
    (re.compile(r"\.tool_result\.parts\[(\d+)\](?:\.text|\.blob)?"), r".content[\1]"),
    (re.compile(r"\.tool_result\.tool_call_id"), ".tool_use_id"),
    (re.compile(r"\.tool_result"), ""),
    (re.compile(r"\.tool_call\."), "."),
    (re.compile(r"\.blob\.mime_type"), ".media_type"),
    (re.compile(r"\.blob\.uri"), ".url"),
    (re.compile(r"\.blob|\.text|\.provider_state.*"), ""),
)
"""What callers write where the contract has a path within a part."""


class _BlockNames(MessageNames):
    __slots__ = ()

    def within(self, rest: str) -> str:
        for pattern, name in _WITHIN:
            if match := pattern.match(rest):
                return match.expand(name) + rest[match.end() :]
        return rest


class Conversation:
    """Collects messages.

    A message of ours can be a piece of one in the request, since results of tools have a role of their own here.
    ``names`` leads back from the one to the other.

    Args:
        found: what is wrong. The index of a message in its paths is ours, the rest is the caller's.
    """

    def __init__(self, found: Violations) -> None:
        self.messages: list[Message] = []
        self.names: list[MessageNames] = []
        self._found = found
        self._parts: list[Part] = []
        self._part_names: list[str] = []

    @property
    def _path(self) -> str:
        return f"messages[{len(self.messages)}]"

    def system(self, system: System) -> None:
        """Instructions before the conversation."""
        if system:
            blocks = [TextBlock(text=system)] if isinstance(system, str) else system
            names = ["" if isinstance(system, str) else f"[{index}].text" for index in range(len(blocks))]
            for index, block in enumerate(blocks):
                self._refuse_citations(block, f"[{index}]")
            self.messages.append(Message(role=Role.SYSTEM, parts=tuple([Text(text=block.text) for block in blocks])))
            self.names.append(_SystemNames(("system", *names)))

    def add(self, message: AnyMessage, index: int) -> None:
        """A message with its index in the request."""
        path = f"messages[{index}]"
        role = Role.SYSTEM
        if isinstance(message, UserMessage):
            role = Role.USER
        elif isinstance(message, AssistantMessage):
            role = Role.ASSISTANT
        content = message.content
        if isinstance(content, str):
            self._take(Text(text=content), "content")
        else:
            was_result = False
            for number, block in enumerate(content):
                where = f"content[{number}]"
                is_result = isinstance(block, ToolResultBlock)
                if is_result is not was_result and self._parts:
                    self._end(Role.TOOL if was_result else role, path)
                was_result = is_result
                self._block(block, where)
            if was_result:
                role = Role.TOOL
        self._end(role, path)

    def _end(self, role: Role, path: str) -> None:
        self.messages.append(Message(role=role, parts=tuple(self._parts)))
        self.names.append(_BlockNames((path, *self._part_names)))
        self._parts.clear()
        self._part_names.clear()

    def _take(self, part: Part, name: str) -> None:
        self._parts.append(part)
        self._part_names.append(name)

    def _block(
        self,
        block: TextBlock
        | ImageBlock
        | DocumentBlock
        | ToolResultBlock
        | ThinkingBlock
        | RedactedThinkingBlock
        | ToolUseBlock,
        where: str,
    ) -> None:
        if isinstance(block, TextBlock | ImageBlock | DocumentBlock):
            for part, name in self._content(block, where):
                self._take(part, name)
        elif isinstance(block, ThinkingBlock):
            self._take(Reasoning(text=block.thinking, provider_state=state_of(block.signature)), where)
        elif isinstance(block, RedactedThinkingBlock):
            state = state_of(block.data)
            if state is None:
                self._found.add(f"{self._path}.{where}.data", "must not be empty")
                self._take(Text(text=""), where)
            else:
                self._take(ProviderStatePart(provider_state=state), where)
        elif isinstance(block, ToolUseBlock):
            arguments = raw_text(block.input)
            if not arguments.startswith("{"):
                self._found.add(f"{self._path}.{where}.input", "must be an object")
            self._take(ToolCall(id=block.id, name=block.name, arguments_json=arguments), where)
        else:
            self._take(self._result(block, where), where)

    def _result(self, block: ToolResultBlock, where: str) -> ToolResult:
        parts: list[Text | Blob] = []
        if isinstance(block.content, str):
            parts += [Text(text=block.content)] if block.content else []
        else:
            for number, piece in enumerate(block.content or ()):
                parts += [part for part, _ in self._content(piece, f"{where}.content[{number}]")]
        return ToolResult(tool_call_id=block.tool_use_id, parts=tuple(parts), is_error=bool(block.is_error))

    def _content(self, block: TextBlock | ImageBlock | DocumentBlock, where: str) -> list[tuple[Text | Blob, str]]:
        """The parts of a block, and their names."""
        if isinstance(block, TextBlock):
            self._refuse_citations(block, f".{where}")
            return [(Text(text=block.text), f"{where}.text")]
        source, of_source = block.source, f"{where}.source"
        if isinstance(block, ImageBlock):
            return [(self._blob(block.source, of_source, "image"), of_source)]
        if block.citations is not None and block.citations.enabled:
            self._found.add(f"{self._path}.{where}.citations", "is not supported by this server: leave it out")
        parts: list[tuple[Text | Blob, str]] = []
        for name, text in (("title", block.title), ("context", block.context)):
            if text:  # the model reads them before the document
                parts.append((Text(text=text), f"{where}.{name}"))
        if isinstance(source, TextSource):
            parts.append((Text(text=source.data), f"{of_source}.data"))
        elif not isinstance(source, ContentSource):
            parts.append((self._blob(source, of_source, "application/pdf"), of_source))
        elif isinstance(source.content, str):
            parts.append((Text(text=source.content), f"{of_source}.content"))
        else:
            for number, piece in enumerate(source.content):
                parts += self._content(piece, f"{of_source}.content[{number}]")
        return parts

    def _blob(self, source: Base64Source | URLSource, where: str, kind: str) -> Blob:
        if isinstance(source, URLSource):
            if not source.url.startswith("https://"):
                self._found.add(f"{self._path}.{where}.url", "must begin with https://")
                return PLACEHOLDER
            return Blob(mime_type=kind if "/" in kind else f"{kind}/*", uri=source.url)
        if not source.media_type.startswith(kind):
            self._found.add(f"{self._path}.{where}.media_type", f"must begin with {kind}")
            return PLACEHOLDER
        return blob_of_base64(self._found, f"{self._path}.{where}.data", source.data, source.media_type)

    def _refuse_citations(self, block: TextBlock, where: str) -> None:
        if block.citations:
            self._found.add(f"{self._path}{where}.citations", "is not supported by this server: leave it out")


class _SystemNames(_BlockNames):
    """``system[0].text`` needs no point before its index."""

    __slots__ = ()

    def name(self, part: int | None, rest: str) -> str:
        if part is None or part + 1 >= len(self):
            return super().name(part, rest)
        return self[0] + self[part + 1] + self.within(rest)


def conversation(
    found: Violations, system: System, given: Sequence[AnyMessage], *, to_answer: bool
) -> tuple[tuple[Message, ...], list[MessageNames]]:
    """The messages of a request, and their names.

    Args:
        found: what is wrong.
        system: the instructions.
        given: the messages.
        to_answer: whether the model is to answer the last of them; otherwise it may be an answer itself.
    """
    all_of_it = Conversation(found)
    all_of_it.system(system)
    for index, message in enumerate(given):
        all_of_it.add(message, index)
    if not given:
        found.add("messages", "must not be empty")
    elif to_answer and isinstance(given[-1], AssistantMessage):
        found.add(
            f"messages[{len(all_of_it.messages) - 1}].role",
            "must be user in the last message: this server does not continue an answer that the caller begins",
        )
    return tuple(all_of_it.messages), all_of_it.names
