"""About how many tokens texts, messages and tools have, where no provider counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.values import (
    MCPSession,
    Message,
    ProviderStatePart,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Visibility,
)

BYTES_PER_TOKEN: Final = 4
"""A common average for text; only an estimate."""
TOKENS_PER_MESSAGE: Final = 8
"""What a template adds to a message, generously."""
TOKENS_PER_BLOB: Final = 1_000
"""About what providers count for an image."""


def tokens_of_text(text: str) -> int:
    """About how many tokens a text has."""
    size = len(text) if text.isascii() else len(text.encode())
    return -(-size // BYTES_PER_TOKEN)


def tokens_of_messages(messages: Sequence[Message]) -> list[int]:
    """About how many tokens each of the messages has."""
    # Nearly every message is one text, and this is done for each message of each window.
    return [
        TOKENS_PER_MESSAGE - (-len(parts[0].text) // BYTES_PER_TOKEN)
        if len(parts := message.parts) == 1 and type(parts[0]) is Text and parts[0].text.isascii()
        else TOKENS_PER_MESSAGE + sum([_tokens_of_part(part) for part in parts])
        for message in messages
    ]


def _tokens_of_part(part: object) -> int:
    if isinstance(part, Text | Reasoning | Refusal):
        return tokens_of_text(part.text)
    if isinstance(part, ToolCall):
        return TOKENS_PER_MESSAGE + tokens_of_text(part.name) + tokens_of_text(part.arguments_json)
    if isinstance(part, ToolResult):
        return TOKENS_PER_MESSAGE + sum([_tokens_of_part(piece) for piece in part.parts])
    if isinstance(part, ProviderStatePart):
        return 0  # what providers count for it, or whether they count it at all, differs
    return TOKENS_PER_BLOB


def tokens_of_tools(tools: Sequence[Tool]) -> int:
    """About how many tokens the tools have together."""
    return sum(
        [
            TOKENS_PER_MESSAGE + sum(map(tokens_of_text, (tool.name, tool.description, tool.parameters_json)))
            for tool in tools
        ]
    )


def tokens_of_instruction(session: MCPSession) -> int:
    """About how many tokens precede the history of a session in its prompts: its instruction and its context."""
    entries = [entry for entry in session.context.values() if entry.visibility is Visibility.PROMPT]
    return tokens_of_text(session.system_instruction) + sum([tokens_of_text(entry.text) for entry in entries])
