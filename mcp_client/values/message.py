"""Messages and their parts."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


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

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """The reasoning of a model before its answer."""

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A model's explanation of why it declines to answer."""

    text: str
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """An image, audio or another file, with exactly one of ``data`` and ``uri``."""

    mime_type: str
    """For example ``image/png``."""
    data: bytes = b""
    """The content itself."""
    uri: str = ""
    """Where the content is: an ``https:`` or ``data:`` URI."""
    provider_state: ProviderState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's request to run a tool."""

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

    tool_call_id: str
    """The ``id`` of the :class:`ToolCall`."""
    parts: Sequence[Text | Blob] = ()
    is_error: bool = False
    """Whether the tool failed; the parts then describe the failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatePart:
    """A part that consists of its :class:`ProviderState` alone, for example reasoning that the provider hides."""

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

    @property
    def text(self) -> str:
        """The text parts, concatenated."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The tool calls among the parts."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @classmethod
    def user(cls, text: str) -> Message:
        """Create a USER message."""
        return cls(role=Role.USER, parts=(Text(text=text),))

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
