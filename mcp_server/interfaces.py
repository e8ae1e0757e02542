"""What an outsider implements: :class:`Provider`, :class:`Embedder`, :class:`TokenCounter`, :class:`ModelLookup`,
:class:`Store`, :class:`ContextType`, :class:`Middleware`, :class:`GRPCService` and :class:`TurnObserver`, with the
values that they take and give.

Nothing is inherited: a class implements a protocol by having its methods.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, runtime_checkable

from mcp_server.principal import ANONYMOUS, Principal
from mcp_server.values import (
    Attempt,
    ContextEntry,
    Embeddings,
    FinishReason,
    GenerationConfig,
    Logprob,
    MCPSession,
    Message,
    Model,
    Receipt,
    Struct,
    Tool,
    ToolChoice,
    Turn,
    Usage,
)

# -- providers --------------------------------------------------------------------------------------------------------


class GenerateRequest(Struct):
    """What a provider is asked to answer: a conversation, or a raw prompt."""

    model: str
    """The provider's own name of the model."""
    messages: tuple[Message, ...] = ()
    """The conversation, oldest first, system messages at its head; empty for a completion."""
    prompt: str | None = None
    """The raw text to go on from; ``None`` for a chat."""
    suffix: str = ""
    """The text that follows what is to be written; only with ``prompt``."""
    config: GenerationConfig = GenerationConfig()
    """The knobs."""
    tools: tuple[Tool, ...] = ()
    """What the model may call."""
    tool_choice: ToolChoice = ToolChoice()
    """Whether it must."""
    provider_options: Mapping[str, Any] = {}
    """Passed on as it is."""


class TextDelta(Struct):
    """A piece of the answer's text."""

    text: str
    """Never empty, and never half a character."""
    logprobs: tuple[Logprob, ...] = ()
    """One a token of the piece, if asked for."""


class ReasoningDelta(Struct):
    """A piece of what the model thinks."""

    text: str
    """Never empty."""


class RefusalDelta(Struct):
    """A piece of the words in which the model declines."""

    text: str
    """Never empty."""


class ToolCallStart(Struct):
    """The model begins a tool call."""

    id: str
    """Names the call."""
    name: str
    """The tool."""


class ToolArgumentsDelta(Struct):
    """A piece of the arguments of the tool call ``id``; calls may be written side by side."""

    id: str
    """The :class:`ToolCallStart` that it belongs to."""
    text: str
    """A piece of the text of a JSON object."""


class Finish(Struct):
    """The end of the answer: always the last event, and only of an answer that is whole."""

    reason: FinishReason = FinishReason.STOP
    """Why the model stopped."""
    usage: Usage | None = None
    """What the provider reports; ``None`` if it reports nothing."""


ProviderEvent = str | TextDelta | ReasoningDelta | RefusalDelta | ToolCallStart | ToolArgumentsDelta | Finish
"""What a provider yields; a ``str`` is short for a :class:`TextDelta`."""


class Provider(Protocol):
    """Answers chats and completions.

    ``generate`` yields the answer as it comes and a :class:`Finish` at its end; an answer that ends without one counts
    as cut. It is an async generator: closing it, or cancelling the task that reads it, stops the work at the provider
    before the next token.

    It makes one call upstream and does not try again: retries, fallbacks and limits on time are the server's, which
    keeps a row of its ledger for each call. Failures are raised from :mod:`mcp_server.errors`: a
    :class:`~mcp_server.errors.ProviderError`, :class:`~mcp_server.errors.ContextTooLong`,
    :class:`~mcp_server.errors.UnsupportedByModel`, :class:`~mcp_server.errors.ModelNotFound` or
    :class:`~mcp_server.errors.InvalidArgument`. Their ``retry_after`` says when the same call may succeed here; 0 means
    at once, since something has changed: another key is used from now on.
    """

    def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Answer ``request``; any number of calls may run at once."""
        ...

    async def models(self) -> Sequence[Model]:
        """What it can answer with, and in which state that is. Cheap: it loads nothing and spends no tokens."""
        ...

    async def close(self) -> None:
        """Stop what runs and give back what it holds. It is not used afterwards."""
        ...


class EmbedRequest(Struct):
    """Texts to turn into vectors."""

    model: str
    """The provider's own name of the model."""
    inputs: tuple[str, ...]
    """At least one text."""
    dimensions: int | None = None
    """The wished length of the vectors, for models that can shorten them."""
    provider_options: Mapping[str, Any] = {}
    """Passed on as it is."""


@runtime_checkable
class Embedder(Protocol):
    """A provider that also makes embeddings."""

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector an input, in order. Raises as :class:`Provider` does."""
        ...


@runtime_checkable
class ModelLookup(Protocol):
    """A provider that answers with models which it does not list, too."""

    def look_up(self, name: str, /) -> Model | None:
        """What is assumed of the model with that name of the provider's own; ``None`` if it is not to be tried."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A provider that can say how long a prompt is."""

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of tokens of the whole prompt as the model will read it, template included."""
        ...


# -- stores -----------------------------------------------------------------------------------------------------------


class RequestKey(Struct):
    """What a ``request_id`` names: it is unique within a tenant, a session or none, and a service."""

    service: str
    """The service: ``chat``, ``completion`` or ``session``."""
    request_id: str
    """The caller's key."""
    in_session: bool = False
    """Whether it belongs to the session that the change is about; else to none."""


class LookUp(Struct):
    """What to read beside the session itself before a change is decided."""

    turn: str = ""
    """The id of a turn."""
    request: RequestKey | None = None
    """The key of a turn; not together with ``turn``."""
    receipt: RequestKey | None = None
    """The key of a receipt."""
    other: str = ""
    """The id of another session of the tenant."""
    holder: bool = False
    """Whether to read the turn that the session's ``claim`` names."""


NO_LOOK_UP: Final = LookUp()
"""Nothing but the session itself."""


class Stored(Struct):
    """What is stored when a change is decided. What has expired is given as it is stored."""

    session: MCPSession | None = None
    """The session that the change is about."""
    turn: Turn | None = None
    """The turn that was looked up."""
    receipt: Receipt | None = None
    """The receipt that was looked up."""
    other: MCPSession | None = None
    """The other session that was looked up."""
    holder: Turn | None = None
    """The turn that the session's ``claim`` names, if it was asked for and is there."""
    now: int | None = None
    """The time by the clock of a store that servers share (:class:`SharedStore`); ``None`` in any other store."""


class Change(Struct):
    """What one atomic step writes; whatever is unset stays as it is."""

    session: MCPSession | None = None
    """The session as it is to be. One with another ``uid`` replaces the old one, whose messages and turns go."""
    delete: bool = False
    """Remove the session, its messages and its turns."""
    append: tuple[Message, ...] = ()
    """Messages for the end of the session's history, their ``index`` set."""
    fork_of: str = ""
    """The uid of the session whose first messages a new session begins with: as many as ``message_count``, less those
    in ``append``. They are shared and not copied, and stay when the older session goes."""
    turn: Turn | None = None
    """A turn to create or replace."""
    events: bytes = b""
    """A further piece of the log of ``turn``."""
    receipt: Receipt | None = None
    """A receipt to keep."""
    read_last: int = 0
    """How many messages from the end of the history, as it was before this step, to return with it. A store may return
    fewer of them, the last ones, if they have more than 32 MiB."""


class Changed(Struct):
    """What a step did."""

    change: Change
    """What was written."""
    stored: Stored
    """What the decision was made on."""
    messages: tuple[Message, ...] = ()
    """What ``read_last`` asked for, oldest first."""


Decide = Callable[[Stored], Change]
"""Says what to write. A quick function without side effects, since it may run on another thread and more than once.
What it raises is raised to the caller of the change, and then nothing was written."""


class SessionQuery(Struct):
    """Which sessions to list, in the order of their creation."""

    tenant: str
    """Whose."""
    now: int
    """Those that have expired at this time are left out."""
    limit: int
    """At most so many."""
    labels: Mapping[str, str] = {}
    """Only those that carry all of these."""
    newest_first: bool = False
    """The order."""
    after: tuple[int, str] | None = None
    """Begin behind the session with this ``(create_time, uid)``."""


class Store(Protocol):
    """Keeps sessions, their messages and their turns.

    Every write is one call of :meth:`change`, and it is atomic and durable when that returns. What is read is what was
    last written. Failures to read or write raise :class:`~mcp_server.errors.StoreUnavailable`; a store that cannot be
    opened raises :class:`~mcp_server.errors.ConfigError` and is left as it was found.
    """

    async def open(self) -> None:
        """Make ready for use."""
        ...

    async def close(self) -> None:
        """Finish what was begun and give back what is held."""
        ...

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read the session with id ``session``, let ``decide`` say what to write, and write it: nothing comes between.

        ``Stored.session`` is ``None`` where there is no such session, also for ``session=""``, which stands for none: a
        turn without a session, for example.
        """
        ...

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id, expired or not."""
        ...

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that fit, their ``context`` and ``metadata`` left out."""
        ...

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """The messages with ``start <= index < stop`` of the session with that ``uid``, in order."""
        ...

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        ...

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """Up to ``limit`` turns of the session with that ``uid``, by id, the greatest first; if ``before`` is not
        empty, only those whose id is less."""
        ...

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of the log of the turn with that id, in the order in which they were written."""
        ...

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Up to ``limit`` sessions whose ``expire_time`` has passed, as ``(tenant, id)``, the oldest first."""
        ...

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Up to ``limit`` turns that are queued or running and whose lease is missing or another owner's."""
        ...

    async def forget(self, before: int, limit: int, /) -> int:
        """Remove up to ``limit`` turns that ended before that time, with their logs, and as many receipts that are
        older, and say how many of both went."""
        ...

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """How many there are, for the metrics: ``{"sessions": n}``; expired ones do not count."""
        ...


@runtime_checkable
class SharedStore(Store, Protocol):
    """A :class:`Store` that several servers may use at once. Any other store is *exclusive*: one server at a time.

    Leases end by the store's own clock, which it hands to every decision as ``Stored.now``.
    """

    async def renew(self, owner: str, duration: int, /) -> None:
        """Make all leases of ``owner`` end ``duration`` nanoseconds from now, in one step."""
        ...

    async def lapsed(self, limit: int, /) -> Sequence[Turn]:
        """Up to ``limit`` turns that are queued or running and whose lease has ended, or that have none."""
        ...


# -- context ----------------------------------------------------------------------------------------------------------


class ContextType(Protocol):
    """A kind of context entry: what a valid one looks like, and how a model reads it.

    A plug-in registers an instance under the entry point group ``contextprotocol.context_types``; the entry point's
    name is the type's name.
    """

    def validate(self, entry: ContextEntry, /) -> str | None:
        """What is wrong with the entry, for its author to read, or ``None``."""
        ...

    def render(self, name: str, entry: ContextEntry, /) -> str:
        """The entry as a piece of the prompt."""
        ...


# -- middleware -------------------------------------------------------------------------------------------------------


class Call:
    """One call to the server while it runs, on any edge.

    Attributes:
        service: the full name of the service, for example ``contextprotocol.v1.ChatService``.
        method: the method's name, for example ``StreamChat``.
        kind: ``unary``, ``client_stream``, ``server_stream`` or ``bidi_stream``.
        peer: the address that the call came from.
        metadata: the caller's metadata; of repeated keys the last.
        principal: who the call is made for; a middleware that authenticates callers sets it.
        reason: how the call ended: ``None`` while it runs, ``OK``, or the ``reason`` of an error.
        code: the status that the edge reports, by gRPC's name: ``OK``, ``NOT_FOUND`` …
        turn: the full name of the turn that the call started or read, or empty.
    """

    __slots__ = ("code", "kind", "metadata", "method", "peer", "principal", "reason", "service", "turn")

    def __init__(self, *, service: str, method: str, kind: str, peer: str, metadata: Mapping[str, str]) -> None:
        self.service = service
        self.method = method
        self.kind = kind
        self.peer = peer
        self.metadata = metadata
        self.principal: Principal = ANONYMOUS
        self.reason: str | None = None
        self.code = ""
        self.turn = ""

    @property
    def tenant(self) -> str:
        """Whose data the call works on."""
        return self.principal.tenant


Middleware = Callable[[Call], AbstractAsyncContextManager[None]]
"""Entered around each call, outermost first, before the request is decoded. ``reason`` and ``code`` are set when it is
left. It may refuse the call by raising an :class:`~mcp_server.errors.MCPError`."""


class GRPCService(Struct):
    """A service to serve beside the contract's own, behind the same middleware; reflection and health list it.

    For each method of the descriptor the implementation has one of the same name: ``async def Method(self, call,
    request)`` returns the response, and ``async def Method(self, call, request, send)`` of a method that answers with a
    stream awaits ``send(message)`` for each message. If callers send a stream, ``request`` is an asynchronous iterator
    of messages. What a method raises becomes the call's status, as for the contract's own services.
    """

    descriptor: Any
    """The ``google.protobuf.descriptor.ServiceDescriptor`` of the service."""
    implementation: Any
    """The object with the methods."""


class TurnObserver(Protocol):
    """Is told of every turn, once when it begins and once when it has ended, and of every call to a provider: metrics,
    logs, books.

    It must be quick and must not raise.
    """

    def turn_started(self, turn: Turn, /) -> None:
        """A turn has begun."""
        ...

    def turn_ended(self, turn: Turn, /) -> None:
        """A turn has ended: ``state``, ``usage``, ``attempts`` and ``error`` are final."""
        ...

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Calls to providers have ended: those that this process made for one turn of that ``service``, or, for
        ``embedding``, for one call."""
        ...


# -- admission --------------------------------------------------------------------------------------------------------


class Work(Struct):
    """What a caller asks to begin, as far as it is known before the session is read."""

    service: str
    """``chat``, ``completion`` or ``embedding``."""
    session: str = ""
    """The id of the session, or empty."""
    model: str = ""
    """The model that the call names, or empty."""
    max_output_tokens: int | None = None
    """The longest answer that the call asks for, in tokens; ``None``: it does not say."""


class Permit(Protocol):
    """The right to begin one turn or one embedding request, held as long as it runs."""

    def release(self) -> None:
        """Give it back. Called once."""
        ...


class Admission(Protocol):
    """Decides whether a caller may begin work now."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant the permit.

        Raises:
            QuotaExceeded: the caller has used up an allowance.
            Overloaded: the server has more work than it takes on.
        """
        ...
