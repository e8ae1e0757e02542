"""What the demo is asked: the parts of a request that its answers depend on."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

import msgspec

from mcp_server.interfaces import GenerateRequest
from mcp_server.values import Blob, Message, Role, Struct, Text, ToolCall, ToolResult

QUOTED: Final = 200
"""How many characters of a text an answer repeats."""
_SMALL_WORDS: Final = frozenset(
    """
    about also does from have here into please tell that then there they this what when where which will with would your
    """.split()  # noqa: SIM905  # a list would take a page
)


class Conversation(Struct):
    """A conversation, or a prompt to continue."""

    request: GenerateRequest
    """The whole request."""
    messages: tuple[Message, ...]
    """The messages without those of the system and without the beginning of the answer."""
    system: str = ""
    """What the system messages say: the instruction and the context of the session."""
    beginning: str = ""
    """The beginning of the answer, if it has begun."""

    @classmethod
    def of(cls, request: GenerateRequest) -> Conversation:
        """The conversation of a request."""
        messages = request.messages
        beginning = messages[-1].text if messages and messages[-1].role is Role.ASSISTANT else ""
        system = [each.text for each in messages if each.role is Role.SYSTEM]
        rest = tuple([each for each in messages if each.role is not Role.SYSTEM])
        return cls(
            request=request,
            messages=rest[:-1] if beginning else rest,
            system="\n\n".join(system),
            beginning=beginning,
        )

    @property
    def text(self) -> str:
        """What is asked: the last message, or the prompt; empty after the results of tools."""
        if self.request.prompt is not None:
            return self.request.prompt
        return self.messages[-1].text if self.messages else ""

    @property
    def asked(self) -> list[str]:
        """The texts of all messages of the caller."""
        return [each.text for each in self.messages if each.role is Role.USER]

    @property
    def blobs(self) -> list[Blob]:
        """What the last message has besides text."""
        last = self.messages[-1].parts if self.messages else ()
        return [part for part in last if isinstance(part, Blob)]

    @property
    def results(self) -> list[tuple[str, ToolResult]]:
        """The results at the end of the conversation, each with the name of its tool."""
        names = {part.id: part.name for each in self.messages for part in each.parts if isinstance(part, ToolCall)}
        found: list[tuple[str, ToolResult]] = []
        for message in reversed(self.messages):
            if message.role is not Role.TOOL:
                break
            parts = [part for part in message.parts if isinstance(part, ToolResult)]
            found[:0] = [(names.get(part.tool_call_id, "tool"), part) for part in parts]
        return found

    @property
    def digest(self) -> str:
        """Identifies what is asked, however much of the answer there is."""
        asked = (self.request.prompt, [(each.role, each.name, each.parts) for each in self.messages])
        return blake2b(msgspec.msgpack.encode(asked), digest_size=9).hexdigest()

    def recalled(self) -> str:
        """The earlier message of the caller that has most words in common with the last one; empty if none has any."""
        *earlier, last = self.asked or [""]
        wanted = words_of(last)
        shared = [(len(wanted & words_of(text)), index) for index, text in enumerate(earlier)]
        most, index = max(shared, default=(0, 0))
        return earlier[index] if most else ""


def words_of(text: str) -> set[str]:
    """The words of a text that say what it is about."""
    words = set(re.findall(r"\w{4,}", text.casefold()))
    return words - _SMALL_WORDS


def quoted(text: str, most: int = QUOTED) -> str:
    """A text as one line in quotes, shortened."""
    line = " ".join(text.split())
    return f"“{line if len(line) <= most else line[: most - 1] + '…'}”"


def shown(message: Message) -> str:
    """A message in one line."""
    pieces: list[str] = []
    for part in message.parts:
        if isinstance(part, Text):
            pieces.append(quoted(part.text))
        elif isinstance(part, Blob):
            pieces.append(described(part))
        elif isinstance(part, ToolResult):
            pieces.append(f"result {result_text(part)}")
        elif isinstance(part, ToolCall):
            pieces.append(f"call {part.name} {part.arguments_json}")
    return ", ".join(pieces) or "nothing to show"


def result_text(result: ToolResult) -> str:
    """What a tool has returned, in one line."""
    return ", ".join([quoted(part.text) if isinstance(part, Text) else described(part) for part in result.parts])


def described(blob: Blob) -> str:
    """The type of an image or a file, and its size or where it is."""
    return f"{blob.mime_type} at {blob.uri}" if blob.uri else f"{blob.mime_type} of {len(blob.data):,} bytes"
