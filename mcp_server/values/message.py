"""Messages and their parts."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct
from mcp_server.values.usage import Usage


class Role(enum.StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Text(Struct, tag="text"):
    """Text."""

    text: str
    """The text, up to the size limit of a message."""


class Reasoning(Struct, tag="reasoning"):
    """Reasoning of a model before its answer."""

    text: str
    """The reasoning, as far as the provider reveals it."""


class Refusal(Struct, tag="refusal"):
    """The words with which a model declines to answer."""

    text: str
    """The words."""


class Blob(Struct, tag="blob"):
    """Content that is not text: an image, audio, or a file. Exactly one of ``data`` and ``uri`` is set."""

    mime_type: str
    """The MIME type, for example ``image/png``."""
    data: bytes = b""
    """The content."""
    uri: str = ""
    """The URI from which the provider loads the content."""


class ToolCall(Struct, tag="tool_call"):
    """A tool call by a model, to be executed by the caller."""

    id: str
    """The id of the call within the conversation, to which the result refers."""
    name: str
    """The tool's name."""
    arguments_json: str = ""
    """The arguments as the model wrote them: the text of a JSON object."""


class ToolResult(Struct, tag="tool_result"):
    """The result of a tool call."""

    tool_call_id: str
    """The ``id`` of the :class:`ToolCall`."""
    parts: tuple[Text | Blob, ...] = ()
    """The result."""
    is_error: bool = False
    """Whether the tool failed; the parts then describe the failure."""


Part = Text | Reasoning | Refusal | Blob | ToolCall | ToolResult
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
