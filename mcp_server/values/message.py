"""Messages and their parts."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from mcp_server.values.base import Struct
from mcp_server.values.usage import Usage


class Role(enum.StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ProviderState(Struct):
    """Data that a provider adds to a part of its answer and needs to receive back unchanged in later turns. It is given
    only to the provider that it comes from."""

    provider: str
    """The configured name of the provider."""
    data: bytes
    """The data, which the server does not interpret."""
    model: str = ""
    """The provider's own name of the model, or empty."""

    def __repr__(self) -> str:  # whatever shows a message shows nothing of the data
        return f"ProviderState(provider={self.provider!r}, model={self.model!r}, data=<{len(self.data)} bytes>)"


class Text(Struct, tag="text"):
    """Text."""

    text: str
    """The text, up to the size limit of a message."""
    provider_state: ProviderState | None = None
    """What the provider needs to receive back; only in ASSISTANT messages."""


class Reasoning(Struct, tag="reasoning"):
    """Reasoning of a model before its answer."""

    text: str
    """The reasoning, as far as the provider reveals it."""
    provider_state: ProviderState | None = None
    """What the provider needs to receive back; only in ASSISTANT messages."""


class Refusal(Struct, tag="refusal"):
    """The words with which a model declines to answer."""

    text: str
    """The words."""
    provider_state: ProviderState | None = None
    """What the provider needs to receive back; only in ASSISTANT messages."""


class Blob(Struct, tag="blob"):
    """Content that is not text: an image, audio, or a file. Exactly one of ``data`` and ``uri`` is set."""

    mime_type: str
    """The MIME type, for example ``image/png``."""
    data: bytes = b""
    """The content."""
    uri: str = ""
    """The URI from which the provider loads the content."""
    provider_state: ProviderState | None = None
    """What the provider needs to receive back; only in ASSISTANT messages."""


class ToolCall(Struct, tag="tool_call"):
    """A tool call by a model, to be executed by the caller."""

    id: str
    """The id of the call within the conversation, to which the result refers."""
    name: str
    """The tool's name."""
    arguments_json: str = ""
    """The arguments as the model wrote them: the text of a JSON object."""
    provider_state: ProviderState | None = None
    """What the provider needs to receive back; only in ASSISTANT messages."""


class ToolResult(Struct, tag="tool_result"):
    """The result of a tool call."""

    tool_call_id: str
    """The ``id`` of the :class:`ToolCall`."""
    parts: tuple[Text | Blob, ...] = ()
    """The result."""
    is_error: bool = False
    """Whether the tool failed; the parts then describe the failure."""


class ProviderStatePart(Struct, tag="provider_state"):
    """A part that consists of its :class:`ProviderState` alone, for example reasoning that the provider hides."""

    provider_state: ProviderState
    """The state."""


Part = Text | Reasoning | Refusal | Blob | ToolCall | ToolResult | ProviderStatePart
"""One part of a message."""


class FinishReason(enum.StrEnum):
    """Why a model stopped generating. Every value is a success."""

    STOP = "stop"
    """The model ended the answer, or generated a stop sequence."""
    LENGTH = "length"
    """The answer reached a length limit."""
    TOOL_CALLS = "tool_calls"
    """The model waits for the results of tool calls."""
    CONTENT_FILTER = "content_filter"
    """The provider withheld the rest."""


class Message(Struct):
    """One message of a conversation."""

    role: Role
    """The author."""
    parts: tuple[Part, ...] = ()
    """The content, in order."""
    name: str = ""
    """Distinguishes several authors with the same role."""
    index: int = 0
    """The position in the history of the session, from 0; meaningless without a session."""
    id: str = ""
    """The id of the message, which the server assigns when it stores it."""
    create_time: int = 0
    """When the server stored the message."""
    turn: str = ""
    """The full name of the turn that added it, or empty. In a fork, it can be a turn of the parent session."""
    model: str = ""
    """The ``provider/model`` that generated it, or empty."""
    finish_reason: FinishReason | None = None
    """Why the model stopped; only for generated messages."""
    usage: Usage | None = None
    """The token counts of the answer; only for generated messages."""

    @property
    def text(self) -> str:
        """All its :class:`Text` parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])


def with_states_of(provider: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without the states of all other providers, and without parts that consist of them alone.

    Args:
        provider: the configured name of the provider; empty: without any state.
        messages: the messages.
    """
    return tuple([_with_states_of(provider, each) if each.role is Role.ASSISTANT else each for each in messages])


def _with_states_of(provider: str, message: Message) -> Message:
    parts = message.parts
    if all(_is_of(provider, part) for part in parts):
        return message
    kept = [
        part if _is_of(provider, part) else msgspec.structs.replace(part, provider_state=None)
        for part in parts
        if type(part) is not ProviderStatePart or _is_of(provider, part)
    ]
    return msgspec.structs.replace(message, parts=tuple(kept))


def _is_of(provider: str, part: Part) -> bool:
    """Whether a part has no state of another provider."""
    state: ProviderState | None = getattr(part, "provider_state", None)
    return state is None or state.provider == provider
