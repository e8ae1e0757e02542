"""The use cases: chat, complete, embed, and what there is to choose from. Both edges call these and nothing below."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcp_server.errors import InvalidArgument, NotSupported, ToolResultsMissing, Violation
from mcp_server.events import TurnReader
from mcp_server.interfaces import ContextType, Embedder, EmbedRequest, GenerateRequest
from mcp_server.live import Plan, Terms
from mcp_server.messages import (
    SECOND,
    Attempt,
    Blob,
    ContextEntry,
    Embeddings,
    GenerationConfig,
    IfBusy,
    MCPSession,
    Message,
    OnDisconnect,
    ResponseFormat,
    Role,
    Struct,
    Text,
    ToolCall,
    ToolResult,
    Turn,
    TurnState,
    Window,
)
from mcp_server.routing import Catalogue, Route, Router
from mcp_server.sessions import Claimed, Clock, Entry, MCPSessionManager, digest_of, new_name
from mcp_server.turns import Turns
from mcp_server.window import context_text, estimate_tokens, select, system_messages

replace = msgspec.structs.replace

MAX_RESPONSE_BYTES = 3_500_000
"""No response is larger: generated clients refuse more than 4 MiB."""


class TurnOptions(Struct):
    """What chats and completions have in common."""

    tenant: str
    """Whose call it is."""
    session: str = ""
    """The id of the session, or empty."""
    model: str = ""
    """An alias or ``provider/model``; empty: the session's, then the server's default."""
    config: GenerationConfig = GenerationConfig()
    """The knobs."""
    request_id: str = ""
    """The caller's key for retries, or empty."""
    after_sequence: int | None = None
    """Begin behind this event of the turn that ``request_id`` names."""
    etag: str = ""
    """If set, the etag that the session must have."""
    if_busy: IfBusy = IfBusy.REJECT
    """What happens if the session has a turn already."""
    on_disconnect: OnDisconnect = OnDisconnect.CANCEL_AFTER_GRACE
    """What happens to the turn when its last reader has left."""
    timeout: int | None = None
    """Nanoseconds after which the turn fails; ``None``: the server's default."""
    provider_options: Mapping[str, Any] = {}
    """Passed on as it is."""


class ChatInput(Struct):
    """One chat."""

    options: TurnOptions
    messages: tuple[Message, ...]
    """The new input; without a session, the whole conversation."""
    truncate: bool = True
    """Whether old exchanges may be left out."""


class CompletionInput(Struct):
    """One completion."""

    options: TurnOptions
    prompt: str
    """The text to go on from."""
    suffix: str = ""
    """The text that follows what is to be written."""
    include_context: bool = False
    """Put the session's context before the prompt."""
    save_as: str = ""
    """The name of the context entry that the answer becomes, or empty."""


class EmbedInput(Struct):
    """One batch of texts."""

    tenant: str
    inputs: tuple[str, ...]
    model: str = ""
    session: str = ""
    dimensions: int | None = None
    provider_options: Mapping[str, Any] = {}


class Embedded(Struct):
    """The vectors and what they took."""

    embeddings: Embeddings
    model: str
    """``provider/model``."""
    attempts: tuple[Attempt, ...]


class Gateway:
    """The use cases over sessions, turns and providers.

    Args:
        sessions: keeps the conversations.
        turns: runs the turns.
        router: knows the models.
        context_types: by name.
        clock: tells the time.
        default_model: of calls and sessions that name none.
        default_embedding_model: the same for embeddings.
        turn_timeout: nanoseconds that a turn may take if its call does not say.
        max_window_messages: the most messages of a history that one turn reads.
    """

    def __init__(
        self,
        *,
        sessions: MCPSessionManager,
        turns: Turns,
        router: Router,
        context_types: Mapping[str, ContextType],
        clock: Clock = time.time_ns,
        default_model: str = "",
        default_embedding_model: str = "",
        turn_timeout: int = 600 * SECOND,
        max_window_messages: int = 200,
    ) -> None:
        self.sessions = sessions
        self.turns = turns
        self.router = router
        self.context_types = context_types
        self.clock = clock
        self.default_model = default_model
        self.default_embedding_model = default_embedding_model
        self.turn_timeout = turn_timeout
        self.max_window_messages = max_window_messages

    async def chat(self, request: ChatInput) -> TurnReader:
        """Begin a chat, or find it if it was begun before, and return a reader of its turn, as :meth:`Turns.open`."""
        catalogue = await self.router.catalogue()
        return await self._open("chat", request, _Chat(self, request, catalogue))

    async def complete(self, request: CompletionInput) -> TurnReader:
        """The same for a completion."""
        catalogue = await self.router.catalogue()
        return await self._open("completion", request, _Completion(self, request, catalogue))

    async def embed(self, request: EmbedInput) -> Embedded:
        """Turn texts into vectors.

        Raises:
            ModelNotFound, SessionNotFound, UnsupportedByModel, ContextTooLong, ProviderError.
        """
        self.turns.check_draining()
        catalogue = await self.router.catalogue()
        session_model = ""
        if request.session:
            session_model = (await self.sessions.touch(request.tenant, request.session)).default_model
        route = catalogue.resolve(request.model, session_model, self.default_embedding_model)
        route.require("embedding")
        embedder = route.provider
        if not isinstance(embedder, Embedder):
            raise NotSupported(f"the provider {route.provider_name} makes no embeddings", metadata={"field": "model"})
        limit = max_batch(route)
        if len(request.inputs) > limit:
            problem = f"{len(request.inputs)} texts; {route.name} takes at most {limit} at once: send several batches"
            raise InvalidArgument([Violation(field="inputs", description=problem)])
        start = self.clock()
        embeddings = await embedder.embed(
            EmbedRequest(
                model=route.model.name,
                inputs=request.inputs,
                dimensions=request.dimensions,
                provider_options=request.provider_options,
            )
        )
        attempt = Attempt(
            provider=route.provider_name,
            model=route.model.name,
            start_time=start,
            duration=self.clock() - start,
            usage=embeddings.usage,
            outcome=TurnState.SUCCEEDED,
        )
        return Embedded(embeddings=embeddings, model=route.name, attempts=(attempt,))

    async def delete_session(self, tenant: str, session_id: str, *, etag: str) -> None:
        """Delete a session and stop its turn, whose readers then end with SessionNotFound."""
        self.turns.cancel_session(await self.sessions.delete(tenant, session_id, etag=etag))

    async def _open(self, service: str, request: ChatInput | CompletionInput, work: _Chat | _Completion) -> TurnReader:
        options, now = request.options, self.clock()
        turn = Turn(
            tenant=options.tenant,
            id=new_name("t"),
            service=service,
            state=TurnState.RUNNING,
            create_time=now,
            session=options.session,
            request_id=options.request_id,
            digest=_digest(request) if options.request_id else b"",
            on_disconnect=options.on_disconnect,
        )
        timeout = options.timeout if options.timeout is not None else self.turn_timeout
        work.deadline = now + timeout
        terms = Terms(timeout=timeout, if_busy=options.if_busy, after_sequence=options.after_sequence)
        return await self.turns.open(turn, work, terms)


def _digest(request: ChatInput | CompletionInput) -> bytes:
    """Tells the request from others, whatever the call does that carries it."""
    options = replace(
        request.options, request_id="", after_sequence=None, on_disconnect=OnDisconnect.CANCEL_AFTER_GRACE
    )
    return digest_of(replace(request, options=options))


def max_batch(route: Route) -> int:
    """The most inputs of one embedding request whose answer still fits a response; 0 for a model that makes none."""
    if not route.model.capabilities.embedding:
        return 0
    fits = (
        MAX_RESPONSE_BYTES // (4 * route.model.embedding_dimensions + 16) if route.model.embedding_dimensions else 2048
    )
    return min(route.model.max_batch or 2048, fits, 2048)


class _TurnWork:
    """What chats and completions do alike: choose the model, and claim the session."""

    def __init__(self, gateway: Gateway, options: TurnOptions, catalogue: Catalogue) -> None:
        self.gateway = gateway
        self.options = options
        self.catalogue = catalogue
        self.deadline = 0

    def route(self, session: MCPSession | None) -> Route:
        """The model that answers; raises what refuses the turn. Free of side effects."""
        session_model = session.default_model if session is not None else ""
        route = self.catalogue.resolve(self.options.model, session_model, self.gateway.default_model)
        if self.options.config.response_format is ResponseFormat.JSON_SCHEMA:
            route.require("json_schema")
        return route

    async def _claim(self, turn: Turn, entry: Entry, read_last: int) -> Claimed:
        return await self.gateway.sessions.claim(
            turn,
            entry,
            deadline=self.deadline,
            etag=self.options.etag,
            read_last=read_last,
            admit=self._attempt,
        )

    def _attempt(self, session: MCPSession | None) -> Attempt:
        route = self.route(session)
        return Attempt(provider=route.provider_name, model=route.model.name, start_time=self.gateway.clock())


class _Chat(_TurnWork):
    def __init__(self, gateway: Gateway, request: ChatInput, catalogue: Catalogue) -> None:
        super().__init__(gateway, request.options, catalogue)
        self.request = request

    def route(self, session: MCPSession | None) -> Route:
        route = super().route(session)
        route.require("chat")
        _require_for(route, self.request.messages)
        return route

    async def claim(self, turn: Turn, entry: Entry) -> Claimed:
        return await self._claim(turn, entry, self.gateway.max_window_messages)

    async def plan(self, claimed: Claimed) -> Plan:
        session, gateway = claimed.session, self.gateway
        route = self.route(session)
        _check_tool_results(claimed.messages[-1:], self.request.messages)
        request = GenerateRequest(
            model=route.model.name, config=self.options.config, provider_options=self.options.provider_options
        )
        counter = route.token_counter

        async def count(messages: Sequence[Message]) -> int:
            assert counter is not None
            return await counter.count_tokens(replace(request, messages=tuple(messages)))

        selection = await select(
            system=system_messages(session, gateway.context_types) if session is not None else (),
            history=claimed.messages,
            message_count=session.message_count if session is not None else 0,
            new=self.request.messages,
            context_window=route.model.context_window,
            answer_tokens=self.options.config.max_output_tokens,
            truncate=self.request.truncate,
            count=count if counter is not None else None,
        )
        _require_for(route, selection.messages)
        return Plan(
            provider_name=route.provider_name,
            provider=route.provider,
            request=replace(request, messages=selection.messages),
            window=selection.window,
        )

    async def commit(self, turn: Turn, message: Message, events: bytes) -> tuple[Turn, Message]:
        sessions = self.gateway.sessions
        if not turn.session:
            await sessions.release(turn, events)
            return turn, message
        turn, stored = await sessions.commit(turn, (*self.request.messages, message), events=events)
        return turn, stored[-1]


class _Completion(_TurnWork):
    def __init__(self, gateway: Gateway, request: CompletionInput, catalogue: Catalogue) -> None:
        super().__init__(gateway, request.options, catalogue)
        self.request = request

    def route(self, session: MCPSession | None) -> Route:
        route = super().route(session)
        route.require("completion")
        return route

    async def claim(self, turn: Turn, entry: Entry) -> Claimed:
        return await self._claim(turn, entry, 0)

    async def plan(self, claimed: Claimed) -> Plan:
        request = self.request
        route = self.route(claimed.session)
        prompt = request.prompt
        if request.include_context and claimed.session is not None:
            context = context_text(claimed.session, self.gateway.context_types)
            prompt = f"{context}\n\n{prompt}" if context else prompt
        generate = GenerateRequest(
            model=route.model.name,
            prompt=prompt,
            suffix=request.suffix,
            config=self.options.config,
            provider_options=self.options.provider_options,
        )
        window = Window(input_tokens=estimate_tokens(prompt))
        return Plan(provider_name=route.provider_name, provider=route.provider, request=generate, window=window)

    async def commit(self, turn: Turn, message: Message, events: bytes) -> tuple[Turn, Message]:
        sessions = self.gateway.sessions
        if not turn.session:
            await sessions.release(turn, events)
            return turn, message
        save_as = {}
        if self.request.save_as:
            save_as[self.request.save_as] = ContextEntry(type="text", kind="text", text=message.text)
        turn, _ = await sessions.commit(turn, (), events=events, save_as=save_as)
        return turn, message


def _require_for(route: Route, messages: tuple[Message, ...]) -> None:
    """Refuse what the model cannot read."""
    for message in messages:
        for part in message.parts:
            if type(part) is Text:
                continue
            if isinstance(part, Blob):
                route.require("images")
            elif isinstance(part, ToolCall | ToolResult):
                route.require("tools")


def _check_tool_results(last: tuple[Message, ...], new: tuple[Message, ...]) -> None:
    """Open tool calls at the end of the history must be answered first, each by one TOOL message."""
    open_calls = [part.id for message in last for part in message.parts if isinstance(part, ToolCall)]
    if not open_calls:
        return
    answered: list[str] = []
    for message in new:
        if message.role is not Role.TOOL:
            break
        answered += [part.tool_call_id for part in message.parts if isinstance(part, ToolResult)]
    missing = [call for call in open_calls if call not in answered]
    if missing:
        raise ToolResultsMissing(
            f"the model waits for the results of its tool calls {', '.join(missing)}: begin `messages` "
            "with one TOOL message for each",
            metadata={"tool_call_ids": ",".join(missing)},
        )
