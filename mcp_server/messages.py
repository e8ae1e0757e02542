"""The values that the system is made of: immutable, typed, free of any wire or vendor.

Times are integers: nanoseconds since the Unix epoch. Durations are integers: nanoseconds. A field that is not set is
``None``, an empty string or an empty collection, never a made-up number. Every value can be stored and read back with
:mod:`msgspec`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, dataclass_transform

import msgspec

SECOND = 1_000_000_000
"""One second in the unit of every time and duration here."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The base of every value: frozen, keyword-only, and stored without its defaults.

    A value never refers back to what holds it, so the collector of garbage need not look at any.
    """


# -- what a message is made of ----------------------------------------------------------------------------------------


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


class UsageSource(enum.StrEnum):
    """Where token counts come from."""

    REPORTED = "reported"
    """From the provider."""
    ESTIMATED = "estimated"
    """Counted by this server because the provider reported none."""


class Usage(Struct):
    """How many tokens a call took."""

    input_tokens: int = 0
    """All tokens of the prompt, cached ones included."""
    cached_input_tokens: int = 0
    """Those of the prompt that the provider read from its cache."""
    cache_write_tokens: int = 0
    """Those of the prompt that the provider wrote to its cache."""
    output_tokens: int = 0
    """All tokens of the answer, reasoning included."""
    reasoning_tokens: int = 0
    """Those of the answer that were reasoning."""
    source: UsageSource = UsageSource.ESTIMATED
    """Who counted."""


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


# -- what a call asks for ---------------------------------------------------------------------------------------------


class ResponseFormat(enum.StrEnum):
    """The shape of the answer."""

    TEXT = "text"
    JSON = "json"
    JSON_SCHEMA = "json_schema"


class GenerationConfig(Struct):
    """The knobs of a generation; what is ``None`` is left to the model's own default."""

    temperature: float | None = None
    """Randomness, 0 to 2; 0 is greedy."""
    top_p: float | None = None
    """Sample only from the likeliest tokens that make up this share, 0 to 1."""
    max_output_tokens: int | None = None
    """The longest answer, in tokens; at least 1."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    seed: int | None = None
    """Makes sampling repeatable where the provider can."""
    frequency_penalty: float | None = None
    """-2 to 2: discourages repeating in proportion to how often."""
    presence_penalty: float | None = None
    """-2 to 2: discourages repeating at all."""
    logprobs: int | None = None
    """How many of the likeliest tokens to report at each position, 0 to 20; 0 reports the chosen token alone."""
    response_format: ResponseFormat = ResponseFormat.TEXT
    """The shape of the answer."""
    json_schema: str = ""
    """The JSON Schema that the answer must fit, as JSON text; only with ``ResponseFormat.JSON_SCHEMA``."""


class Tool(Struct):
    """A function that the model may ask the caller to run."""

    name: str
    """Its name, ``[a-zA-Z0-9_-]{1,64}``."""
    description: str = ""
    """What it does, for the model to read."""
    parameters_json: str = ""
    """The JSON Schema of its arguments, as JSON text."""


class ToolChoice(Struct):
    """Whether the model must call a tool."""

    mode: str = "auto"
    """``auto``, ``none`` or ``required``."""
    name: str = ""
    """The one tool to call, or empty; only with ``required``."""


# -- models -----------------------------------------------------------------------------------------------------------


class ModelState(enum.StrEnum):
    """Whether a model can answer now."""

    READY = "ready"
    """It answers; a lazily loaded model that has not been used yet is READY too if nothing known prevents it."""
    LOADING = "loading"
    """It is being loaded; calls wait for it."""
    UNAVAILABLE = "unavailable"
    """It cannot answer; ``state_reason`` says why."""


class Capabilities(Struct):
    """What a model can do."""

    chat: bool = False
    completion: bool = False
    embedding: bool = False
    tools: bool = False
    images: bool = False
    json_schema: bool = False
    prefill: bool = False
    """It can go on from the beginning of an answer."""


class Model(Struct):
    """One model of one provider."""

    name: str
    """The provider's own name for it; with the provider's name before it, ``provider/model``, it is unique."""
    capabilities: Capabilities = Capabilities()
    """What it can do."""
    context_window: int = 0
    """The most tokens that prompt and answer may have together; 0: unknown."""
    max_batch: int = 0
    """The most inputs of one embedding request; 0: unknown."""
    embedding_dimensions: int = 0
    """The length of its vectors; 0: unknown, or it makes none."""
    state: ModelState = ModelState.READY
    """Whether it can answer now."""
    state_reason: str = ""
    """Why it cannot, for an operator to read; empty if it can."""


class Logprob(Struct):
    """How likely one token was."""

    token: str
    """The token's text; may be part of a character."""
    logprob: float
    """The natural logarithm of its probability."""
    top: tuple[Logprob, ...] = ()
    """The likeliest tokens at this position, if asked for."""


class Embeddings(Struct):
    """The answer to an embedding request."""

    vectors: tuple[Sequence[float], ...]
    """One vector an input, in the order of the inputs, all of one length."""
    usage: Usage = Usage()
    """What it took."""


# -- sessions ---------------------------------------------------------------------------------------------------------


class Visibility(enum.StrEnum):
    """Whether a context entry reaches the model."""

    PROMPT = "prompt"
    """Its type's renderer puts it into the prompt."""
    STORED = "stored"
    """It is only kept."""


class ContextEntry(Struct):
    """One named piece of a session's context. Exactly one of ``text``, ``json`` and ``data`` is meant, by ``kind``."""

    type: str
    """A registered context type: ``text``, ``json``, ``document`` or a plug-in's."""
    kind: str
    """Which value it carries: ``text``, ``json`` or ``data``."""
    text: str = ""
    """The value of kind ``text``."""
    json: Any = None
    """The value of kind ``json``: anything that JSON can say."""
    data: bytes = b""
    """The value of kind ``data``."""
    mime_type: str = ""
    """What ``data`` is."""
    visibility: Visibility = Visibility.PROMPT
    """Whether it reaches the model."""


class Claim(Struct):
    """Who may write a session now. A claim is a lease: past ``expire_time`` it no longer holds."""

    turn: str
    """The id of the turn that holds it."""
    owner: str
    """The process that runs the turn."""
    fence: int
    """Grows with each claim on the session: a holder with an older number has lost it."""
    expire_time: int
    """When it ends unless it is renewed."""


class MCPSession(Struct):
    """A conversation that the server keeps."""

    tenant: str
    """Whose it is."""
    id: str
    """The last part of its resource name, ``sessions/{id}``."""
    uid: str
    """Tells it from an earlier session of the same id."""
    create_time: int
    """When it was created."""
    update_time: int
    """When its content last changed; reads and renewals of the ``ttl`` do not count."""
    etag: str
    """Changes whenever its content changes."""
    ttl: int | None = None
    """How long it lives without being used; ``None``: for ever."""
    expire_time: int | None = None
    """When it ends unless it is used before."""
    labels: Mapping[str, str] = {}
    """Short facts to find it by."""
    metadata: Mapping[str, Any] = {}
    """A JSON object of the caller's own."""
    system_instruction: str = ""
    """What the model is told before every conversation."""
    default_model: str = ""
    """The model of calls that name none."""
    context: Mapping[str, ContextEntry] = {}
    """What the model is told besides, by name."""
    message_count: int = 0
    """How many messages its history has."""
    claim: Claim | None = None
    """The turn that runs on it."""
    fence: int = 0
    """The number of the newest claim; it only grows."""
    parent: str = ""
    """The id of the session it was forked from."""

    @property
    def name(self) -> str:
        """The full resource name."""
        return f"sessions/{self.id}"

    def expired(self, now: int) -> bool:
        """Whether it has ended at time ``now``. A turn that runs prevents it."""
        return (
            self.expire_time is not None
            and self.expire_time <= now
            and (self.claim is None or self.claim.expire_time <= now)
        )


# -- turns ------------------------------------------------------------------------------------------------------------


class TurnState(enum.StrEnum):
    """Where in its life a turn is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


FINAL = frozenset((TurnState.SUCCEEDED, TurnState.FAILED, TurnState.CANCELLED))
"""The states that never change again."""


class IfBusy(enum.StrEnum):
    """What happens to a call whose session has a turn already."""

    REJECT = "reject"
    """It is refused."""
    QUEUE = "queue"
    """It waits, in the order of arrival."""
    CANCEL_RUNNING = "cancel_running"
    """The turn that runs is cancelled, and this one goes ahead of those that wait."""


class OnDisconnect(enum.StrEnum):
    """What happens to a turn when its last reader has left."""

    CANCEL_AFTER_GRACE = "cancel_after_grace"
    """It is cancelled unless a reader comes within the configured grace."""
    CANCEL = "cancel"
    """It is cancelled at once."""
    CONTINUE = "continue"
    """It runs to its end."""


class Window(Struct):
    """What of a session's history a model saw."""

    first_message: int = 0
    """The index of the oldest message that was used."""
    used_messages: int = 0
    """How many messages of the history were used."""
    dropped_messages: int = 0
    """How many older ones were left out."""
    input_tokens: int = 0
    """The length of the whole prompt in tokens; an estimate unless the provider can count."""


class TurnError(Struct):
    """Why a turn did not succeed."""

    reason: str
    """The reason of the error, as in :mod:`mcp_server.errors`."""
    message: str
    """Its message."""
    metadata: Mapping[str, str] = {}
    """Its facts for programs."""


class Attempt(Struct):
    """One call to a provider."""

    provider: str
    """The provider's configured name."""
    model: str
    """The provider's own name of the model."""
    start_time: int
    """When the call was sent."""
    first_token_duration: int | None = None
    """How long the first token took; ``None`` if none came."""
    duration: int = 0
    """How long the call took."""
    usage: Usage = Usage()
    """What it took."""
    delivered_tokens: int = 0
    """How many tokens of it reached the turn."""
    cost_nanos: int = 0
    """What it cost, in billionths of ``currency``; 0 if no price is configured."""
    currency: str = ""
    """An ISO 4217 code, or empty."""
    outcome: TurnState = TurnState.RUNNING
    """How it ended."""
    error: TurnError | None = None
    """Why it did not succeed."""


class Turn(Struct):
    """One request to a model and its answer, as it is kept."""

    tenant: str
    """Whose it is."""
    id: str
    """The last part of its resource name."""
    service: str
    """``chat`` or ``completion``."""
    state: TurnState
    """Where in its life it is."""
    create_time: int
    """When the server accepted it."""
    session: str = ""
    """The id of its session, or empty."""
    session_uid: str = ""
    """The uid of its session, or empty."""
    start_time: int | None = None
    """When its first attempt began."""
    end_time: int | None = None
    """When it ended."""
    message: Message | None = None
    """The answer as far as it is known."""
    finish_reason: FinishReason | None = None
    """Why the model stopped."""
    usage: Usage = Usage()
    """What all its attempts took together."""
    window: Window = Window()
    """What of the history the model saw."""
    attempts: tuple[Attempt, ...] = ()
    """Every call to a provider, in order."""
    error: TurnError | None = None
    """Why it did not succeed."""
    owner: str = ""
    """The process that runs it."""
    request_id: str = ""
    """The caller's key for retries, or empty."""
    digest: bytes = b""
    """Tells the request that ``request_id`` stands for from any other."""
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL_AFTER_GRACE
    """What happens when nobody reads it any more."""
    waited: bool = False
    """Whether it had to wait for its session: then its first event is ``queued``."""
    sequence_limit: int = 0
    """Its events may be numbered up to here: what lies beyond was never issued."""
    last_sequence: int = 0
    """The number of its last event, once it has ended."""
    session_etag: str = ""
    """The session's etag after the exchange, once it has succeeded."""

    @property
    def name(self) -> str:
        """The full resource name."""
        return turn_name(self.session, self.id)


class Receipt(Struct):
    """What a call with a ``request_id`` did that is no turn, so that sending it again changes nothing."""

    tenant: str
    """Whose it is."""
    service: str
    """The service that was called."""
    request_id: str
    """The caller's key."""
    create_time: int
    """When it was carried out."""
    session: str
    """The id of the session that was created or changed."""
    session_uid: str
    """Its uid."""
    scope: str = ""
    """The uid of the session that the key belongs to, or empty."""
    digest: bytes = b""
    """Tells the request from any other."""
    first_index: int = 0
    """The index of the first message that was appended."""


def turn_name(session: str, turn: str) -> str:
    """The full resource name of a turn, from the ids of its session (or empty) and its own."""
    return f"sessions/{session}/turns/{turn}" if session else f"turns/{turn}"


def elapsed(start: int, end: int) -> int:
    """Nanoseconds from one time to another; 0 if the clock was set back in between."""
    return max(end - start, 0)
