"""The tokens of the demo: a word with the space before it, at most 12 letters of it, or any other character."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mcp_server.interfaces import GenerateRequest
from mcp_server.values import Blob, Message, Part, ProviderStatePart, ToolCall, ToolResult

LONGEST: Final = 13
"""The most characters of a token."""
BLOB_TOKENS: Final = 64
"""What an image or a file counts, whatever its size."""
_MESSAGE_TOKENS: Final = 3
"""What a message counts besides its content."""
_TOKEN: Final = re.compile(rf" ?\w{{1,{LONGEST - 1}}}|.", re.DOTALL)


def tokens_of(text: str) -> Iterator[str]:
    """The tokens of a text, which together are the text."""
    return (match[0] for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in tokens_of(text))


def prompt_tokens(request: GenerateRequest) -> int:
    """How many tokens the whole prompt has."""
    if request.prompt is not None:
        return max(1, count(request.prompt) + count(request.suffix))
    tools = [f"{tool.name} {tool.description} {tool.parameters_json}" for tool in request.tools]
    return sum(map(_of_message, request.messages)) + sum(map(count, tools))


def least_tokens(request: GenerateRequest) -> int:
    """How many tokens the prompt has at least, at no cost: its texts may be very long."""
    texts = [request.prompt or "", *[message.text for message in request.messages]]
    return sum(len(text) for text in texts) // LONGEST


def _of_message(message: Message) -> int:
    return _MESSAGE_TOKENS + sum(map(_of_part, message.parts))


def _of_part(part: Part) -> int:
    if isinstance(part, Blob):
        return BLOB_TOKENS
    if isinstance(part, ToolCall):
        return count(part.name) + count(part.arguments_json)
    if isinstance(part, ToolResult):
        return sum(map(_of_part, part.parts))
    return 0 if isinstance(part, ProviderStatePart) else count(part.text)
