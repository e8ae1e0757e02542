"""What an outsider implements: :class:`Provider`, :class:`Embedder`, :class:`TokenCounter`, :class:`Loader`,
:class:`Unloader`, :class:`ModelLookup`, :class:`Store`, :class:`SharedStore`, :class:`AccountStore`,
:class:`ObservableStore`, :class:`ContextType`, :class:`Middleware`, :class:`Authenticator`, :class:`GRPCService`,
:class:`TurnObserver`, :class:`ContentObserver` and :class:`Admission`, with the values that they take and return.

Nothing is inherited: a class implements a protocol by having its methods. The file is longer than others on purpose:
all interfaces stand on one page, so that authors of plug-ins need no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Literal, Protocol, runtime_checkable

from mcp_server.principal import ANONYMOUS, PeerCertificate, Principal
from mcp_server.values import (
    Attempt,
    ContextEntry,
    Embeddings,
    FinishReason,
    GenerationConfig,
    Hold,
    Key,
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
    UsageEntry,
    UsageSum,
)

# -- providers --------------------------------------------------------------------------------------------------------


class GenerateRequest(Struct):
    """A conversation to answer, or a raw prompt to continue."""

    model: str
    """The provider's own name of the model."""
    messages: tuple[Message, ...] = ()
    """The conversation, oldest first, system messages at its head; empty for a completion."""
    prompt: str | None = None
    """The raw text to continue; ``None`` for a chat."""
    suffix: str = ""
    """The text after the insertion; only with ``prompt``."""
    config: GenerationConfig = GenerationConfig()
    """Sampling parameters, and the format of the answer."""
    tools: tuple[Tool, ...] = ()
    """The tools that the model may call."""
    tool_choice: ToolChoice = ToolChoice()
    """Whether the model must call a tool."""
    provider_options: Mapping[str, Any] = {}
    """Options for the provider, which the server does not interpret."""


class Progress(Struct):
    """A sign of life before the first piece of an answer. It is not part of the answer.

    The limit on the time until the first piece then begins anew. A provider sends a few of these a second at most, and
    none that it does not know to be true: a model that reads a long prompt must not look like one that hangs.
    """

    stage: Literal["loading", "reading"]
    """What the model is doing: its files are being fetched or loaded, or it reads the prompt. While another model can
    answer, a call does not wait longer for one that is being loaded."""


class TextDelta(Struct):
    """A piece of the answer's text."""

    text: str
    """The text: never empty, and always whole characters."""
    logprobs: tuple[Logprob, ...] = ()
    """One for each token of the piece, if the request asks for them."""


class ReasoningDelta(Struct):
    """A piece of the model's reasoning."""

    text: str
    """The text: never empty."""


class RefusalDelta(Struct):
    """A piece of the text with which the model declines to answer."""

    text: str
    """The text: never empty."""


class ToolCallStart(Struct):
    """The beginning of a tool call."""

    id: str
    """The id of the call."""
    name: str
    """The name of the tool."""


class ToolArgumentsDelta(Struct):
    """A piece of the arguments of the tool call ``id``; pieces of several calls may alternate."""

    id: str
    """The ``id`` of the :class:`ToolCallStart`."""
    text: str
    """A piece of the text of a JSON object."""


class PartState(Struct):
    """What the provider needs to receive back unchanged in later turns, for example the signature of reasoning.

    The server stores it with the part and gives it back in ``provider_state`` of that part, to this provider alone. A
    part has at most one; text that follows begins a new part.
    """

    data: bytes
    """The data, which the server does not interpret: 1 byte to 256 KiB, and part of the 1 MiB that an answer may have.
    Larger data fails the call."""
    tool_call_id: str = ""
    """The ``id`` of the :class:`ToolCallStart` to whose part it belongs; empty: it belongs to the last part."""
    own_part: bool = False
    """Whether it is a part of its own instead, a :class:`~mcp_server.values.ProviderStatePart`: for example reasoning
    that the provider hides."""


class Finish(Struct):
    """The end of the answer: always the last event, and only of a complete answer."""

    reason: FinishReason = FinishReason.STOP
    """Why the model stopped."""
    usage: Usage | None = None
    """The token counts that the provider reports; ``None`` if it reports none."""


ProviderEvent = (
    Progress | str | TextDelta | ReasoningDelta | RefusalDelta | ToolCallStart | ToolArgumentsDelta | PartState | Finish
)
"""What a provider yields; a ``str`` is an abbreviation of a :class:`TextDelta`."""


class Provider(Protocol):
    """Answers chats and completions.

    ``generate`` yields pieces of the answer and at its end a :class:`Finish`; an answer without one counts as broken
    off. It is an async generator: closing it, or cancelling the task that reads it, stops the work at the provider
    before the next token.

    It makes one call upstream and does not retry: retries, fallbacks and timeouts are up to the server, which records
    each call as an attempt. Failures are raised from :mod:`mcp_server.errors`: a
    :class:`~mcp_server.errors.ProviderError`, :class:`~mcp_server.errors.ContextTooLong`,
    :class:`~mcp_server.errors.UnsupportedByModel`, :class:`~mcp_server.errors.ModelNotFound` or
    :class:`~mcp_server.errors.InvalidArgument`. Their ``retry_after`` says in how many seconds the same call may
    succeed at this provider; 0 means immediately, because the next call will use another key.
    """

    def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Answer ``request``; any number of calls may run concurrently."""
        ...

    async def models(self) -> Sequence[Model]:
        """The models it offers, with their states. Cheap: loads nothing and uses no tokens."""
        ...

    async def close(self) -> None:
        """Stop running calls and release all resources. The provider is not used afterwards."""
        ...


class EmbedRequest(Struct):
    """Texts to compute embeddings of."""

    model: str
    """The provider's own name of the model."""
    inputs: tuple[str, ...]
    """At least one text."""
    dimensions: int | None = None
    """The requested dimensions of the vectors, for models that support shorter ones."""
    provider_options: Mapping[str, Any] = {}
    """Options for the provider, which the server does not interpret."""


@runtime_checkable
class Embedder(Protocol):
    """A provider that also computes embeddings."""

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """One vector for each input, in order. Raises the errors of :class:`Provider`."""
        ...


@runtime_checkable
class Loader(Protocol):
    """A provider that loads its models when they are first needed."""

    def load(self, request: GenerateRequest | EmbedRequest, /) -> AsyncIterator[Progress]:
        """Load what ``request`` needs, and end when it is loaded; at once if it is. The server calls this before
        everything else, so that it can tell a model that loads from one that hangs.

        It yields a :class:`Progress` about once a second. A caller that leaves does not stop the loading for others.

        Raises:
            ProviderUnavailable: the model cannot be loaded; the ``cause`` in the metadata is ``load``. No other call
                of the turn is made to it, and its circuit breaker is left alone.
        """
        ...


class LoadedModel(Struct):
    """A model that is loaded on this machine, or is being loaded."""

    model: str
    """The provider's own name of it."""
    loading: bool = False
    """Whether it is still being loaded."""
    loads: int = 0
    """How often it was loaded before, since the provider was made."""
    pid: int | None = None
    """The process that it runs in; ``None``: there is none of its own, or not yet."""
    load_time: int | None = None
    """Since when it is loaded, in nanoseconds since the Unix epoch; ``None``: it is not yet."""
    calls: int = 0
    """How many calls use it, or wait for it."""
    unload_in: float | None = None
    """In how many seconds it will be unloaded if no call comes; ``None``: calls use it, or it stays loaded."""


class LoadCounts(Struct):
    """How often a provider has loaded models."""

    loads: int = 0
    """How often a model was loaded."""
    unloads: int = 0
    """How often one was unloaded, or its process ended."""
    load_seconds: float = 0.0
    """How long all that loading took, in seconds."""


@runtime_checkable
class Unloader(Protocol):
    """A provider whose models take memory of this machine, and can give it back."""

    def loaded(self) -> Sequence[LoadedModel]:
        """The models that are loaded, or are being loaded."""
        ...

    def load_counts(self) -> LoadCounts:
        """How often models were loaded and unloaded since the provider was made. Called on another thread."""
        ...

    def unload(self, model: str, /) -> None:
        """Unload a model as soon as no call uses it; the next call loads it again. Without effect on a model that is
        not loaded."""
        ...


@runtime_checkable
class ModelLookup(Protocol):
    """A provider that also offers models which it does not list."""

    def look_up(self, name: str, /) -> Model | None:
        """The assumed properties of the model that the provider calls ``name``; ``None`` if it must not be used."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A provider that can count the tokens of a prompt."""

    async def count_tokens(self, request: GenerateRequest, /) -> int:
        """The number of tokens of the whole prompt as the model reads it, including its template."""
        ...


# -- stores -----------------------------------------------------------------------------------------------------------


class RequestKey(Struct):
    """The scope and value of a ``request_id``, which is unique per tenant, session (or none) and service."""

    service: str
    """The service: ``chat``, ``completion`` or ``session``."""
    request_id: str
    """The idempotency key of the caller."""
    in_session: bool = False
    """Whether the key belongs to the session of the change; otherwise to none."""


class AccountQuery(Struct):
    """Which account to read: what a tenant or one of its keys has used and holds."""

    key: str = ""
    """The id of the API key; empty: the tenant, all of its keys together."""
    now: int = 0
    """Holds that are void by then are left out."""
    since: tuple[int, ...] = ()
    """The beginnings of the periods whose usage is summed up, each the first nanosecond of an hour (UTC)."""
    currency: str = ""
    """The currency in which costs are summed up."""
    rates: tuple[str, ...] = ()
    """The names of the rates to read."""
    stored: bool = False
    """Whether to count sessions and stored bytes."""


class Account(Struct):
    """What a tenant or a key has used and holds."""

    holds: int = 0
    """How many holds there are."""
    held_tokens: int = 0
    """The tokens of all holds."""
    held_cost_nanos: int = 0
    """The costs of the holds in the currency of the query."""
    tokens: tuple[int, ...] = ()
    """The tokens that were used in each of the periods."""
    cost_nanos: tuple[int, ...] = ()
    """The costs in the currency of the query, in each of the periods."""
    rates: tuple[int, ...] = ()
    """The times up to which each of the rates is used up; 0: it was never used."""
    sessions: int = 0
    """How many sessions there are, expired ones that are not deleted yet included."""
    stored_bytes: int = 0
    """The bytes of their messages and contexts. Messages that a fork shares count once, as long as one session
    has them."""


class RateUse(Struct):
    """Uses up a rate: its time becomes the later of itself and ``floor``, plus ``advance``."""

    name: str
    """The name of the rate."""
    advance: int
    """In nanoseconds; negative: a part is given back."""
    key: str = ""
    """The id of the API key; empty: the rate is the tenant's."""
    floor: int = 0
    """The present time when the rate is used; 0 when a use is corrected."""


class LookUp(Struct):
    """What to read in addition to the session before a change is decided."""

    turn: str = ""
    """The id of a turn."""
    request: RequestKey | None = None
    """The key of a turn; cannot be combined with ``turn``."""
    receipt: RequestKey | None = None
    """The key of a receipt."""
    other: str = ""
    """The id of another session of the tenant."""
    holder: bool = False
    """Whether to read the turn that the session's ``claim`` names."""
    accounts: tuple[AccountQuery, ...] = ()
    """The accounts to read; only in an :class:`AccountStore`."""


NO_LOOK_UP: Final = LookUp()
"""Only the session itself."""


class Stored(Struct):
    """What the store contains when a change is decided, including what has expired."""

    session: MCPSession | None = None
    """The session of the change."""
    turn: Turn | None = None
    """The turn that was looked up."""
    receipt: Receipt | None = None
    """The receipt that was looked up."""
    other: MCPSession | None = None
    """The other session that was looked up."""
    holder: Turn | None = None
    """The turn that the session's ``claim`` names, if ``LookUp.holder`` requested it and it exists."""
    accounts: tuple[Account, ...] = ()
    """The accounts that were looked up."""
    now: int | None = None
    """The time by the clock of a :class:`SharedStore`; ``None`` in any other store."""


class Change(Struct):
    """What one atomic step writes; unset fields change nothing."""

    session: MCPSession | None = None
    """The session to write. If its ``uid`` differs, it replaces the old one, whose messages and turns are deleted."""
    delete: bool = False
    """Whether to delete the session with its messages and turns."""
    rewind: int | None = None
    """How many messages of the history to keep. The others are deleted before those in ``append`` are added; sessions
    that share them keep them. ``None``: all."""
    append: tuple[Message, ...] = ()
    """Messages to append to the history of the session, with their ``index`` set."""
    fork_of: str = ""
    """The uid of the session with whose first messages a new session begins: ``message_count`` less the number of those
    in ``append``. The messages are shared, not copied, and remain when the older session is deleted."""
    turn: Turn | None = None
    """The turn to create or replace."""
    events: bytes = b""
    """A piece to append to the log of ``turn``."""
    receipt: Receipt | None = None
    """The receipt to store."""
    hold: Hold | None = None
    """The hold to create or replace; like the next three only in an :class:`AccountStore`."""
    release: str = ""
    """The id of the hold to delete, if it is there."""
    book: tuple[UsageEntry, ...] = ()
    """Entries to add to the usage ledger of the tenant."""
    rates: tuple[RateUse, ...] = ()
    """Rates of the tenant to use up."""
    read_last: int = 0
    """How many messages to return from the end of the history as it was before this step. A store may return fewer, the
    last ones, if they exceed ``read_bytes`` as stored."""
    read_bytes: int = 32 * 1024 * 1024
    """How many bytes of messages are enough for ``read_last``."""


class Changed(Struct):
    """The result of one atomic step."""

    change: Change
    """What was written."""
    stored: Stored
    """What the decision was based on."""
    messages: tuple[Message, ...] = ()
    """The messages that ``read_last`` requested, oldest first."""


Decide = Callable[[Stored], Change]
"""Decides what to write. It must be fast and without side effects, since it may run on another thread and more than
once. An exception that it raises reaches the caller of the change, and nothing is written."""


class SessionQuery(Struct):
    """Which sessions to list, ordered by creation time."""

    tenant: str
    """The tenant of the sessions."""
    now: int
    """The current time: sessions that have expired by then are left out."""
    limit: int
    """The maximum number of sessions."""
    labels: Mapping[str, str] = {}
    """Only sessions that have all of these labels."""
    newest_first: bool = False
    """Whether to list the newest first instead of the oldest."""
    after: tuple[int, str] | None = None
    """List only what follows the session with this ``(create_time, uid)``."""


class Store(Protocol):
    """Stores sessions, their messages and their turns.

    Every write is one call of :meth:`change`, which is atomic, and durable when it returns. Reads see the last write.
    Failures to read or write raise :class:`~mcp_server.errors.StoreUnavailable`; a store that cannot be opened raises
    :class:`~mcp_server.errors.ConfigError` and is not modified.
    """

    async def open(self) -> None:
        """Prepare the store for use."""
        ...

    async def close(self) -> None:
        """Finish pending writes and release all resources."""
        ...

    async def change(self, tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
        """Read the session with id ``session``, call ``decide``, and write what it returns, in one transaction.

        ``Stored.session`` is ``None`` if the session does not exist, and for ``session=""``, which stands for no
        session, for example for a turn without one.
        """
        ...

    async def session(self, tenant: str, session: str, /) -> MCPSession | None:
        """The session with that id, expired or not."""
        ...

    async def sessions(self, query: SessionQuery, /) -> Sequence[MCPSession]:
        """The sessions that match, without their ``context``, ``metadata`` and ``hidden_turns``."""
        ...

    async def messages(self, tenant: str, uid: str, start: int, stop: int, /) -> Sequence[Message]:
        """The messages with ``start <= index < stop`` of the session with that ``uid``, in order."""
        ...

    async def turn(self, tenant: str, turn: str, /) -> Turn | None:
        """The turn with that id."""
        ...

    async def turns(self, tenant: str, uid: str, limit: int, before: str, /) -> Sequence[Turn]:
        """Up to ``limit`` turns of the session with that ``uid``, in descending order of their ids; if ``before`` is
        not empty, only those with a smaller id."""
        ...

    async def events(self, tenant: str, turn: str, /) -> Sequence[bytes]:
        """The pieces of the log of the turn with that id, in the order of writing."""
        ...

    async def expired(self, now: int, limit: int, /) -> Sequence[tuple[str, str]]:
        """Up to ``limit`` sessions whose ``expire_time`` has passed, as ``(tenant, id)``, the oldest first."""
        ...

    async def interrupted(self, owner: str, limit: int, /) -> Sequence[Turn]:
        """Up to ``limit`` turns that are queued or running and whose lease is missing or another owner's."""
        ...

    async def forget(self, before: int, limit: int, /) -> int:
        """Delete up to ``limit`` turns whose ``retained_since`` is before that time, with their logs, and up to
        ``limit`` older receipts; return the number of both together."""
        ...

    async def counts(self, now: int, /) -> Mapping[str, int]:
        """Counts for the metrics: ``{"sessions": n}``, without expired ones."""
        ...


@runtime_checkable
class SharedStore(Store, Protocol):
    """A :class:`Store` that several servers may use at once. Any other store is *exclusive*: one server at a time.

    Leases expire by the clock of the store, which it passes to every decision as ``Stored.now``.
    """

    async def renew(self, owner: str, duration: int, /) -> Collection[str]:
        """Renew all leases of ``owner`` atomically, so that they expire ``duration`` nanoseconds from now.

        Returns:
            The ids of the turns whose leases were renewed. A turn that is missing has ended, or another owner has it.
        """
        ...

    async def lapsed(self, limit: int, /) -> Sequence[Turn]:
        """Up to ``limit`` queued or running turns whose lease has expired, or that have none."""
        ...


class StoreObserver(Protocol):
    """Is called by a store about its own work. Methods must be fast and must not raise."""

    def operation_ended(self, operation: str, seconds: float, /, *, failed: bool) -> None:
        """Called when an operation has ended, on the event loop.

        Args:
            operation: ``change`` or ``read``.
            seconds: how long it took, the time in which it waited included.
            failed: whether the store could not carry it out.
        """
        ...

    def batch_committed(self, changes: int, seconds: float, /) -> None:
        """Called when changes have been written together, always on the same thread.

        Args:
            changes: how many.
            seconds: how long the commit took.
        """
        ...


@runtime_checkable
class ObservableStore(Protocol):
    """A :class:`Store` that lets itself be measured. The metrics of the store need this capability."""

    def observe(self, observer: StoreObserver, /) -> None:
        """Notify ``observer`` from now on; called before the store is opened."""
        ...

    def waiting(self, operation: str, /) -> int:
        """How many operations of that kind, ``change`` or ``read``, wait for a thread; called on any thread."""
        ...


class UsageQuery(Struct):
    """Which usage to sum up."""

    limit: int
    """The maximum number of sums."""
    tenant: str | None = None
    """The tenant; ``None``: all."""
    start: int | None = None
    """The beginning of the period, the first nanosecond of an hour; ``None``: the beginning of the ledger."""
    end: int | None = None
    """The end of the period, which is not part of it; ``None``: no end."""
    group_by: tuple[str, ...] = ()
    """What to distinguish: ``tenant``, ``key``, ``provider``, ``model``, ``session``, ``hour``, ``day`` (UTC), and
    ``label:NAME``. Currencies are always distinguished."""
    key: str | None = None
    """Only usage of this key; like the following fields ``None`` does not restrict."""
    provider: str | None = None
    """Only usage of this provider."""
    model: str | None = None
    """Only usage of this model."""
    session: str | None = None
    """Only usage of this session."""
    labels: Mapping[str, str] = {}
    """Only usage of calls that had all of these labels."""
    after: tuple[str, ...] | None = None
    """List only what follows the sum with this ``(*group, currency)``."""


@runtime_checkable
class AccountStore(Store, Protocol):
    """A :class:`Store` that also keeps API keys, the usage ledger, and what is held and used of limits. A server with
    any other store has neither stored keys nor limits.

    It carries out the fields ``accounts`` of :class:`LookUp` and ``hold``, ``release``, ``book`` and ``rates`` of
    :class:`Change`, within the same atomic step as the others. The entries of the ledger outlive turns and sessions. An
    exclusive store drops all holds when it is opened: no work runs then.
    """

    async def usage(self, query: UsageQuery, /) -> Sequence[UsageSum]:
        """The sums of the ledger by group, in the order of ``(*group, currency)``."""
        ...

    async def change_key(self, key: str, decide: Callable[[Key | None], Key], /) -> Key:
        """Read the API key with that id, call ``decide``, and write what it returns, in one transaction."""
        ...

    async def key(self, key: str, /) -> Key | None:
        """The API key with that id, of any tenant."""
        ...

    async def keys(self, tenant: str, limit: int, after: tuple[int, str] | None, /) -> Sequence[Key]:
        """Up to ``limit`` API keys of the tenant, ordered by ``(create_time, id)``, after that position."""
        ...

    async def secret(self, name: str, /) -> bytes:
        """The secret of that name: 32 random bytes, which are made at the first call and never change."""
        ...


# -- context ----------------------------------------------------------------------------------------------------------


class ContextType(Protocol):
    """A type of context entries: validates them and renders them for the prompt.

    A plug-in registers an instance under the entry point group ``contextprotocol.context_types``; the entry point's
    name is the type's name.
    """

    def validate(self, entry: ContextEntry, /) -> str | None:
        """What is wrong with the entry, as a message to the caller; ``None`` if it is valid."""
        ...

    def render(self, name: str, entry: ContextEntry, /) -> str:
        """The text of the entry in the prompt."""
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
        repeated: the keys of the metadata that the caller sent more than once.
        certificate: the client's certificate; ``None`` unless the listener requires one (``server.tls.client_ca``).
        principal: who the call is made for; a middleware that authenticates callers sets it.
        reason: how the call ended: ``None`` while it runs, ``OK``, or the ``reason`` of an error.
        code: the status that the edge reports, by gRPC's name: ``OK``, ``NOT_FOUND`` …
        turn: the full name of the turn that the call started or read, or empty.
    """

    __slots__ = (
        "certificate",
        "code",
        "kind",
        "metadata",
        "method",
        "peer",
        "principal",
        "reason",
        "repeated",
        "service",
        "turn",
    )

    def __init__(
        self,
        *,
        service: str,
        method: str,
        kind: str,
        peer: str,
        metadata: Mapping[str, str],
        repeated: Collection[str] = (),
        certificate: PeerCertificate | None = None,
    ) -> None:
        self.service = service
        self.method = method
        self.kind = kind
        self.peer = peer
        self.metadata = metadata
        self.repeated = repeated
        self.certificate = certificate
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


class Authenticator(Protocol):
    """Establishes who calls, by one kind of credential: API keys, tokens or client certificates for example.

    All authenticators of a server are asked. A call for which exactly one returns a principal is made for that one; a
    call with two credentials is refused, and so is a call without any, except the few that are open to everyone.

    Streams are authenticated again every half second while they run, by the same method and for the same call, and end
    when it raises :class:`~mcp_server.errors.BadCredentials`. Of all streams with the same ``Principal.credential`` one
    is authenticated. It should take microseconds: keep the result of what is slow, for a second at most if it can be
    revoked.
    """

    async def authenticate(self, call: Call, /) -> Principal | None:
        """Who makes the call; ``None``: the call has no credential of this kind.

        Raises:
            BadCredentials: it has one, which is not valid (any more). The message must not say why, since that would
                tell strangers what exists.
        """
        ...


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
    scope: str = ""
    """The scope that callers of its methods need, one of :data:`~mcp_server.values.SCOPES`; empty: none. Callers need
    valid credentials in any case, if the server has authentication."""


class TurnObserver(Protocol):
    """Is called at the start and at the end of every turn, and after calls to providers: for metrics, logs, billing.

    All methods are called on the event loop. They must be fast and must not raise.
    """

    def turn_started(self, turn: Turn, /) -> None:
        """Called when a turn has started."""
        ...

    def turn_ended(self, turn: Turn, /) -> None:
        """Called when a turn has ended: ``state``, ``usage``, ``attempts`` and ``error`` are final."""
        ...

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Called when calls to providers have ended: those that this process made for one turn of that ``service``, or,
        if it is ``embedding``, for one embedding request."""
        ...


class ContentObserver(Protocol):
    """Is also shown what was asked and answered: for logs and traces, where a setting allows it."""

    def turn_content(self, turn: Turn, input: Sequence[Message], answer: Message | None, /) -> None:
        """Called when a turn has ended, before :meth:`TurnObserver.turn_ended`.

        Args:
            turn: as it ended.
            input: the new messages of the request, or its prompt as a message; not the history.
            answer: what was generated, also by a turn that did not succeed; ``None`` if nothing was. The states of
                providers are left out of both.
        """
        ...


# -- admission --------------------------------------------------------------------------------------------------------


class Work(Struct):
    """The work that a caller asks for, as far as it is known before the session is read."""

    service: str
    """``chat``, ``completion`` or ``embedding``."""
    session: str = ""
    """The id of the session, or empty."""
    model: str = ""
    """The model that the call names, or empty."""
    max_output_tokens: int | None = None
    """The maximum length of the answer in tokens that the call requests; ``None``: not set."""
    timeout: float | None = None
    """How long the work may take in seconds, the time in which it waits for its permit included; ``None``: without
    limit."""


class Permit(Protocol):
    """The permission to start one turn or one embedding request, held as long as it runs."""

    def release(self) -> None:
        """Release the permit. Called once."""
        ...


class Admission(Protocol):
    """Decides whether a caller may start work now."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        """Grant a permit.

        Raises:
            QuotaExceeded: a quota of the caller is used up.
            Overloaded: the server has more work than it accepts.
        """
        ...
