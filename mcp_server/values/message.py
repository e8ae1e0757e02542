"""Messages and what they are made of."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct
from mcp_server.values.usage import Usage


class Role(enum.StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Text(Struct, tag="text"):
    """Plain text."""

    text: str
    """The text; any length up to the size limit of a message."""


class Reasoning(Struct, tag="reasoning"):
    """What a model thought before it answered."""

    text: str
    """The thoughts, as far as the provider shows them."""


class Refusal(Struct, tag="refusal"):
    """A model's own words for declining to answer."""

    text: str
    """The words."""


class Blob(Struct, tag="blob"):
    """Something that is not text: an image, a sound, a file. Exactly one of ``data`` and ``uri`` is set."""

    mime_type: str
    """What it is, for example ``image/png``."""
    data: bytes = b""
    """The bytes themselves."""
    uri: str = ""
    """Where the provider finds the bytes."""


class ToolCall(Struct, tag="tool_call"):
    """A model asks the caller to run a tool."""

    id: str
    """Names this call within the conversation; the result refers to it."""
    name: str
    """The tool's name."""
    arguments_json: str = ""
    """The arguments as the model wrote them: the text of a JSON object."""


class ToolResult(Struct, tag="tool_result"):
    """What a tool answered."""

    tool_call_id: str
    """The ``id`` of the :class:`ToolCall` that this answers."""
    parts: tuple[Text | Blob, ...] = ()
    """The answer."""
    is_error: bool = False
    """Whether the tool failed; then the parts say how."""


Part = Text | Reasoning | Refusal | Blob | ToolCall | ToolResult
"""One piece of a message."""


class FinishReason(enum.StrEnum):
    """Why a model stopped. Each is a success: the answer is whole as far as the model goes."""

    STOP = "stop"
    """The model ended by itself or met a stop string."""
    LENGTH = "length"
    """A limit on the answer's length was reached."""
    TOOL_CALLS = "tool_calls"
    """The model waits for tools."""
    CONTENT_FILTER = "content_filter"
    """The provider withheld the rest."""


class Message(Struct):
    """One message of a conversation."""

    role: Role
    """Who speaks."""
    parts: tuple[Part, ...] = ()
    """What is said, in order."""
    name: str = ""
    """Tells several speakers of one role apart."""
    index: int = 0
    """The position in the session's history, from 0; meaningless outside a session."""
    id: str = ""
    """Names the message; given by the server when it stores the message."""
    create_time: int = 0
    """When the server stored it."""
    turn: str = ""
    """The full name of the turn that brought it, or empty: in a fork, a turn of the session where it was said."""
    model: str = ""
    """The ``provider/model`` that wrote it, or empty."""
    finish_reason: FinishReason | None = None
    """Why the model stopped; only on what a model wrote."""
    usage: Usage | None = None
    """What the answer took; only on what a model wrote."""

    @property
    def text(self) -> str:
        """All its :class:`Text` parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])
