"""Messages and their parts."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from mcp_client.values.plain import plain_fields, shown


class Role(enum.StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    UNKNOWN = "unknown"
    """A role that this version of the client does not know."""


class FinishReason(enum.StrEnum):
    """Why a model stopped generating."""

    STOP = "stop"
    """The model ended its answer, or reached a stop sequence."""
    LENGTH = "length"
    """The answer reached its maximum length."""
    TOOL_CALLS = "tool_calls"
    """The model waits for tool results."""
    CONTENT_FILTER = "content_filter"
    """The provider withheld the rest of the answer."""
    UNKNOWN = "unknown"
    """A reason that this version of the client does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """Data that the provider of a part needs to receive back unchanged, for example the signature of reasoning. A
    program that keeps the conversation itself sends each part as it was received."""

    provider: str
    """The name of the provider, to which alone the server gives it."""
    model: str = ""
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text."""

    _kind: ClassVar[str] = "text"

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """The reasoning of a model before its answer."""

    _kind: ClassVar[str] = "reasoning"

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A model's explanation of why it declines to answer."""

    _kind: ClassVar[str] = "refusal"

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """An image, audio or another file, with exactly one of ``data`` and ``uri``."""

    _kind: ClassVar[str] = "blob"

    mime_type: str
    """For example ``image/png``."""
    data: bytes = b""
    """The content itself."""
    uri: str = ""
    """Where the content is: an ``https:`` or ``data:`` URI."""
    provider_state: ProviderState | None = None

    def __repr__(self) -> str:
        content = f"uri={self.uri!r}" if self.uri else f"data=<{len(self.data):,} bytes>"
        return f"{type(self).__qualname__}(mime_type={self.mime_type!r}, {content})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's request to run a tool."""

    _kind: ClassVar[str] = "tool_call"

    id: str
    """Identifies the call; its :class:`ToolResult` repeats it."""
    name: str
    """The name of the tool."""
    arguments_json: str = "{}"
    """The arguments, as the text of a JSON object."""
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of a tool call."""

    _kind: ClassVar[str] = "tool_result"

    tool_call_id: str
    """The ``id`` of the :class:`ToolCall`."""
    parts: Sequence[Text | Blob] = ()
    is_error: bool = False
    """Whether the tool failed; the parts then describe the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatePart:
    """A part that consists of its :class:`ProviderState` alone, for example reasoning that the provider hides."""

    _kind: ClassVar[str] = "provider_state"

    provider_state: ProviderState


Part = Text | Reasoning | Refusal | Blob | ToolCall | ToolResult | ProviderStatePart
"""One part of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Input tokens that the provider read from its cache; included in ``input_tokens``."""
    cache_write_tokens: int = 0
    """Input tokens that the provider wrote to its cache."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Output tokens that the model spent on reasoning; included in ``output_tokens``."""
    estimated: bool = False
    """Whether the server counted the tokens itself because the provider reported none."""

    @property
    def total_tokens(self) -> int:
        """The input and the output."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            estimated=self.estimated or other.estimated,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the total, for JSON."""
        return {**plain_fields(self), "total_tokens": self.total_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation. To send one, set ``role`` and ``parts``; the server sets the other fields.

    :meth:`user`, :meth:`assistant` and :meth:`system` create a message from a text, :meth:`tool` from a tool result.
    """

    role: Role
    parts: Sequence[Part]
    name: str = ""
    """Distinguishes several speakers of one role."""
    index: int = 0
    """The position in the session's history, from 0."""
    id: str = ""
    create_time: datetime | None = None
    turn: str = ""
    """The full name of the turn that added the message, or empty."""
    model: str = ""
    """The ``provider/model`` that generated the message, or empty."""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None

    def __repr__(self) -> str:
        return shown(self)

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON: each part has its kind in ``type``, times are RFC 3339 and bytes base64."""
        return plain_fields(self)

    @property
    def text(self) -> str:
        """The text parts, concatenated."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The tool calls among the parts."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @classmethod
    def user(cls, text: str | Text | Blob, *parts: str | Text | Blob) -> Message:
        """Create a USER message of texts, images and files, for example with :meth:`Image.from_path`."""
        return cls(role=Role.USER, parts=tuple([_piece(part) for part in (text, *parts)]))

    @classmethod
    def assistant(cls, text: str) -> Message:
        """Create an ASSISTANT message."""
        return cls(role=Role.ASSISTANT, parts=(Text(text=text),))

    @classmethod
    def system(cls, text: str) -> Message:
        """Create a SYSTEM message."""
        return cls(role=Role.SYSTEM, parts=(Text(text=text),))

    @classmethod
    def tool(cls, result: ToolResult) -> Message:
        """Create a TOOL message: the answer to one :class:`ToolCall`.

        Send one message for each call, in the order of the calls.
        """
        return cls(role=Role.TOOL, parts=(result,))


def _piece(part: str | Text | Blob) -> Text | Blob:
    if not isinstance(part, str | Text | Blob):
        raise TypeError(f"expected a text, a Text or a Blob, not {type(part).__name__}")
    return Text(text=part) if isinstance(part, str) else part
