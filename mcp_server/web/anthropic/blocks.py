"""The messages of a request and their content blocks, as callers write them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mcp_server.web.body import Shape


class CacheControl(Shape):
    """A mark up to which a provider may cache the prompt. No provider of this server takes it; the answer is the
    same."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


# -- sources ----------------------------------------------------------------------------------------------------------


class Base64Source(Shape, tag_field="type", tag="base64"):
    """The data itself."""

    media_type: str
    data: str


class URLSource(Shape, tag_field="type", tag="url"):
    """Where the data is."""

    url: str


class TextSource(Shape, tag_field="type", tag="text"):
    """Plain text."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class ContentSource(Shape, tag_field="type", tag="content"):
    """Text and images."""

    content: str | list[TextBlock | ImageBlock]


# -- blocks -----------------------------------------------------------------------------------------------------------


class TextBlock(Shape, tag_field="type", tag="text"):
    """Text."""

    text: str
    cache_control: CacheControl | None = None
    citations: list[Any] | None = None


class ImageBlock(Shape, tag_field="type", tag="image"):
    """An image."""

    source: Base64Source | URLSource
    cache_control: CacheControl | None = None


class Citations(Shape):
    """Whether an answer cites the document."""

    enabled: bool = False


class DocumentBlock(Shape, tag_field="type", tag="document"):
    """A document."""

    source: Base64Source | URLSource | TextSource | ContentSource
    cache_control: CacheControl | None = None
    citations: Citations | None = None
    context: str | None = None
    title: str | None = None


class ThinkingBlock(Shape, tag_field="type", tag="thinking"):
    """What the model thought before an earlier answer."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Shape, tag_field="type", tag="redacted_thinking"):
    """The same, hidden by the provider."""

    data: str


class DirectCaller(Shape):
    """The model itself has called the tool."""

    type: Literal["direct"]


class ToolUseBlock(Shape, tag_field="type", tag="tool_use"):
    """A tool call."""

    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None
    caller: DirectCaller | None = None
    toolset_name: None = None


class ToolResultBlock(Shape, tag_field="type", tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: None = None


# -- messages ---------------------------------------------------------------------------------------------------------


class UserMessage(Shape, tag_field="role", tag="user"):
    """What the user says, and the results of tool calls."""

    content: str | list[TextBlock | ImageBlock | DocumentBlock | ToolResultBlock]


class AssistantMessage(Shape, tag_field="role", tag="assistant"):
    """An earlier answer."""

    content: str | list[TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock]


class SystemMessage(Shape, tag_field="role", tag="system"):
    """Instructions within the conversation."""

    content: str | list[TextBlock]


AnyMessage = UserMessage | AssistantMessage | SystemMessage
System = str | list[TextBlock] | None
