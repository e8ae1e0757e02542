"""The values that a client takes and gives: plain, frozen, keyword-only."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any


class Role(enum.StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    UNKNOWN = "unknown"
    """A role that is newer than this client."""


class FinishReason(enum.StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    """It ended by itself or met a stop string."""
    LENGTH = "length"
    """A limit on the answer's length was reached."""
    TOOL_CALLS = "tool_calls"
    """It waits for the results of tools."""
    CONTENT_FILTER = "content_filter"
    """The provider withheld the rest."""
    UNKNOWN = "unknown"
    """A reason that is newer than this client."""


class TurnState(enum.StrEnum):
    """Where in its life a turn is."""

    QUEUED = "queued"
    """It waits for its session."""
    RUNNING = "running"
    """A provider works on it."""
    SUCCEEDED = "succeeded"
    """It ended well, and its exchange is in the session's history. Final."""
    FAILED = "failed"
    """It ended with an error, and left the history as it was. Final."""
    CANCELLED = "cancelled"
    """It was stopped, and left the history as it was. Final."""
    INTERRUPTED = "interrupted"
    """Its process died. The same request with the same ``request_id`` runs it again."""
    UNKNOWN = "unknown"
    """A state that is newer than this client."""


class HealthStatus(enum.StrEnum):
    """Whether a service answers."""

    SERVING = "serving"
    NOT_SERVING = "not_serving"
    UNKNOWN = "unknown"


class ModelState(enum.StrEnum):
    """Whether a model can answer now."""

    READY = "ready"
    LOADING = "loading"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What a model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A model's own words for declining."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """An image, a sound, a file: exactly one of ``data`` and ``uri``."""

    mime_type: str
    """For example ``image/png``."""
    data: bytes = b""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model asks for a tool."""

    id: str
    name: str
    arguments_json: str = "{}"
    """The text of a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered."""

    tool_call_id: str
    parts: Sequence[Text | Blob] = ()
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that a model may ask for. Whoever asked the model runs it, and answers with a :class:`ToolResult`."""

    name: str
    """Letters, digits, ``_`` and ``-``, up to 64."""
    description: str = ""
    """What it does, for the model to read."""
    parameters: Mapping[str, Any] | str = ""
    """The JSON Schema of its arguments; given as JSON text, it stays as it is written. Empty: it takes none."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        """What a model is told of a Python function, by its name, docstring and annotations.

        Raises:
            TypeError: it cannot be described.
        """
        from mcp_client._functions import Function  # which is made of these values

        return Function(function).tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether a model must call a tool."""

    mode: str = "auto"
    """``"auto"``: the model decides; ``"none"``: it calls none; ``"required"``: it calls at least one."""
    name: str = ""
    """The one tool that it calls; only with ``"required"``."""


Part = Text | Reasoning | Refusal | Blob | ToolCall | ToolResult
"""One piece of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How many tokens something took."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """Counted by the server because the provider reported nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation. To send one, ``role`` and ``parts`` are enough; the server sets the rest.

    :meth:`user`, :meth:`assistant` and :meth:`system` make one of a text, :meth:`tool` of what a tool has answered.
    """

    role: Role
    parts: Sequence[Part]
    name: str = ""
    """Tells several speakers of one role apart."""
    index: int = 0
    """The position in the session's history, from 0."""
    id: str = ""
    create_time: datetime | None = None
    turn: str = ""
    """The full name of the turn that brought it, or empty."""
    model: str = ""
    """The ``provider/model`` that wrote it, or empty."""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """All its text parts, joined."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The tools that it asks for."""
        return tuple([part for part in self.parts if isinstance(part, ToolCall)])

    @classmethod
    def user(cls, text: str) -> Message:
        """A USER message of a text."""
        return cls(role=Role.USER, parts=(Text(text=text),))

    @classmethod
    def assistant(cls, text: str) -> Message:
        """An ASSISTANT message of a text."""
        return cls(role=Role.ASSISTANT, parts=(Text(text=text),))

    @classmethod
    def system(cls, text: str) -> Message:
        """A SYSTEM message of a text."""
        return cls(role=Role.SYSTEM, parts=(Text(text=text),))

    @classmethod
    def tool(cls, result: ToolResult) -> Message:
        """A TOOL message: the answer to one :class:`ToolCall`. Each call has one of its own, in their order."""
        return cls(role=Role.TOOL, parts=(result,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """One named piece of a session's context: one of ``text``, ``data`` and, for the type ``json``, ``json``."""

    type: str = "text"
    """``text``, ``json``, ``document``, or a type of a plug-in of the server."""
    text: str | None = None
    json: Any = None
    """Anything that JSON can say."""
    data: bytes | None = None
    mime_type: str = ""
    """What ``data`` is."""
    stored_only: bool = False
    """Kept, and not shown to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A conversation that the server keeps."""

    name: str
    """``sessions/{id}``."""
    uid: str
    create_time: datetime
    update_time: datetime
    etag: str
    ttl: float | None
    """Seconds that it lives unused; ``None``: for ever."""
    expire_time: datetime | None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Left out of lists."""
    system_instruction: str = ""
    default_model: str = ""
    context: Mapping[str, ContextEntry] = field(default_factory=dict)
    """Left out of lists."""
    message_count: int = 0
    active_turn: str = ""
    """The full name of the turn that runs on it, or empty."""
    parent: str = ""

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.removeprefix("sessions/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What of a session's history a model saw."""

    first_message: int
    used_messages: int
    dropped_messages: int
    input_tokens: int
    """The length of the whole prompt; an estimate unless the provider can count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of the server to a provider."""

    provider: str
    model: str
    start_time: datetime
    time_to_first_token: float | None
    """Seconds."""
    duration: float
    """Seconds."""
    usage: Usage
    delivered_tokens: int
    """How many tokens of it reached the turn."""
    cost: Decimal
    """What it cost, in ``currency``; 0 if the server knows no price."""
    currency: str
    """An ISO 4217 code, or empty."""
    outcome: TurnState
    """``succeeded``, ``failed``, ``cancelled`` or ``interrupted``; ``running`` while it runs."""
    reason: str
    """Why it did not succeed, or empty."""
    error: str
    """The same in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a turn that succeeded."""

    message: Message
    """The whole answer."""
    finish_reason: FinishReason
    usage: Usage
    attempts: Sequence[Attempt]
    turn: str
    """The turn's full name."""
    session_etag: str
    """The session's etag after the exchange; empty without a session."""
    time_to_first_token: float | None
    """Seconds, as the server saw it."""
    duration: float
    """Seconds, as the server saw it."""

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.message.text

    def __str__(self) -> str:
        return self.message.text


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFailure:
    """Why a turn did not succeed."""

    code: str
    """The status code by gRPC's name, for example ``UNAVAILABLE``."""
    reason: str
    """The server's reason, for example ``PROVIDER_UNAVAILABLE``."""
    message: str
    """What was wrong, where, and what to do."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request to a model and its answer, as the server keeps it."""

    name: str
    """``sessions/{session}/turns/{turn}``, or ``turns/{turn}`` of a call without a session."""
    state: TurnState
    request_id: str
    """The caller's key for retries."""
    create_time: datetime
    start_time: datetime | None
    """When its first attempt began; ``None``: it has not."""
    end_time: datetime | None
    message: Message | None
    """The answer so far, if there is any. Left out of lists."""
    finish_reason: FinishReason | None
    """Why the model stopped, if the turn succeeded."""
    usage: Usage
    """What all attempts took together."""
    window: Window
    error: TurnFailure | None
    """Why it did not succeed, if it did not."""
    attempts: Sequence[Attempt]
    """Every call to a provider, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnQueued:
    """The turn waits for its session."""

    sequence: int
    turn: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted:
    """The turn begins."""

    sequence: int
    turn: str
    model: str
    """``provider/model``."""
    window: Window
    session_etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStarted:
    """A part of the answer begins."""

    sequence: int
    part: int
    kind: str
    """``text``, ``reasoning``, ``refusal``, ``tool_call``, ``blob``, or ``unknown``."""
    tool_call_id: str
    tool_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Logprob:
    """How likely a token was."""

    token: str
    logprob: float
    top: Sequence[Logprob] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a part: exactly one of ``text``, ``reasoning`` and ``tool_arguments`` is not empty."""

    sequence: int
    part: int
    text: str
    reasoning: str
    tool_arguments: str
    logprobs: Sequence[Logprob] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSwitched:
    """Another model took over."""

    sequence: int
    from_model: str
    to_model: str
    restarted: bool
    """Whether all parts so far are void; else the other model goes on with them."""
    reason: str
    """Why: the reason of an error, or empty if it is newer than this client."""
    window: Window
    """What of the history the other model sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A sign of life."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted:
    """The turn succeeded."""

    sequence: int
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """A function was run for the model."""

    call: ToolCall
    """What it asked for."""
    result: ToolResult
    """What it was answered."""


Event = TurnQueued | TurnStarted | PartStarted | Delta | AttemptSwitched | Heartbeat | TurnCompleted
"""What happens in a turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a server can answer with."""

    name: str
    """``provider/model``: what the ``model`` argument takes."""
    provider: str
    aliases: Sequence[str]
    capabilities: frozenset[str]
    """Of ``chat``, ``completion``, ``embedding``, ``tools``, ``images``, ``json_schema``, ``prefill``."""
    context_window: int
    """Tokens; 0: unknown."""
    max_batch: int
    """The most texts of one embedding call; 0: it makes none."""
    embedding_dimensions: int
    state: ModelState
    state_reason: str
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors, in the order of their texts."""

    vectors: Sequence[Sequence[float]]
    model: str
    usage: Usage
    attempts: Sequence[Attempt] = ()
    """Every call of the server to a provider, in order, with what it cost."""
