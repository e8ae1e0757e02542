"""The use cases: chat, complete, embed, and what there is to choose from. Both edges call these and nothing below."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from mcp_server.errors import (
    InvalidArgument,
    MCPError,
    ProviderUnavailable,
    ToolResultsMissing,
    UnsupportedByModel,
    Violation,
)
from mcp_server.interfaces import ContextType, Embedder, EmbedRequest, GenerateRequest, TurnObserver
from mcp_server.models.catalogue import Catalogue, Route, Router
from mcp_server.models.failover import Course, Watch
from mcp_server.models.target import Target
from mcp_server.models.usage import told
from mcp_server.sessions.idempotency import digest_of
from mcp_server.sessions.manager import Claimed, Entry, MCPSessionManager, new_name
from mcp_server.turns.log import TurnReader
from mcp_server.turns.registry import Turns
from mcp_server.turns.runner import Plan, Terms
from mcp_server.turns.window import context_text, estimate_tokens, select, system_messages
from mcp_server.values import (
    SECOND,
    Attempt,
    Blob,
    Clock,
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
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    TurnState,
    Window,
    elapsed,
)

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
    tools: tuple[Tool, ...] = ()
    """What the model may call."""
    tool_choice: ToolChoice = ToolChoice()
    """Whether it must."""
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
        observers: are told of calls to providers that belong to no turn.
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
        observers: Sequence[TurnObserver] = (),
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
        self._observers = observers

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
        targets = route.able(("embedding",), random.random())  # noqa: S311  # spreads calls, and guards nothing
        limit = min(max_batch(target) for target in targets)
        if len(request.inputs) > limit:
            problem = (
                f"{len(request.inputs)} texts; {targets[0].name} takes at most {limit} at once: send several batches"
            )
            raise InvalidArgument([Violation(field="inputs", description=problem)])
        until = asyncio.get_running_loop().time() + self.turn_timeout / SECOND
        attempts: list[Attempt] = []
        try:
            with contextlib.closing(Course(targets, route.policy, until=until)) as course:
                await course.next()
                while True:
                    try:
                        embeddings = await self._embed_once(request, course, attempts)
                    except MCPError as error:
                        await course.next(error)
                    else:
                        course.succeeded()
                        return Embedded(embeddings=embeddings, model=course.target.name, attempts=tuple(attempts))
        finally:
            for observer in self._observers:
                observer.attempts_ended("embedding", attempts)

    async def _embed_once(self, request: EmbedInput, course: Course, attempts: list[Attempt]) -> Embeddings:
        """One call to a provider, and its row."""
        target, start = course.target, self.clock()
        row = Attempt(
            provider=target.provider_name, model=target.model.name, start_time=start, outcome=TurnState.CANCELLED
        )
        try:
            embeddings = await course.call(partial(_embed, target, request))
        except MCPError as raised:
            row = replace(row, outcome=TurnState.FAILED, error=told(raised))
            raise
        else:
            row = replace(row, usage=embeddings.usage, outcome=TurnState.SUCCEEDED)
            if (price := target.price) is not None:
                row = replace(row, cost_nanos=price.nanos(row.usage), currency=price.currency)
            return embeddings
        finally:
            attempts.append(replace(row, duration=elapsed(start, self.clock())))

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


def max_batch(target: Target) -> int:
    """The most inputs of one embedding request whose answer still fits a response; 0 for a model that makes none."""
    if not target.model.capabilities.embedding:
        return 0
    dimensions = target.model.embedding_dimensions
    fits = MAX_RESPONSE_BYTES // (4 * dimensions + 16) if dimensions else 2048
    return min(target.model.max_batch or 2048, fits, 2048)


class _TurnWork:
    """What chats and completions do alike: choose the models, and claim the session."""

    def __init__(self, gateway: Gateway, options: TurnOptions, catalogue: Catalogue, needs: Sequence[str]) -> None:
        self.gateway = gateway
        self.options = options
        self.catalogue = catalogue
        self.needs = list(needs)
        self.deadline = 0
        self._draw = random.random()  # noqa: S311  # spreads calls, and guards nothing
        if options.config.response_format is ResponseFormat.JSON_SCHEMA:
            self.needs.append("json_schema")

    def course(self, session: MCPSession | None) -> Course:
        """The calls that the turn may make; raises what refuses it."""
        route = self._route(session)
        left = (self.deadline - self.gateway.clock()) / SECOND
        until = asyncio.get_running_loop().time() + left
        return Course(route.able(self.needs, self._draw), route.policy, until=until)

    def _route(self, session: MCPSession | None) -> Route:
        session_model = session.default_model if session is not None else ""
        return self.catalogue.resolve(self.options.model, session_model, self.gateway.default_model)

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
        target = self._route(session).able(self.needs, self._draw)[0]
        return Attempt(provider=target.provider_name, model=target.model.name, start_time=self.gateway.clock())


class _Chat(_TurnWork):
    def __init__(self, gateway: Gateway, request: ChatInput, catalogue: Catalogue) -> None:
        needs = ["chat", *_needs_of(request.messages)]
        if request.tools and "tools" not in needs:
            needs.append("tools")
        super().__init__(gateway, request.options, catalogue, needs)
        self.request = request

    async def claim(self, turn: Turn, entry: Entry) -> Claimed:
        return await self._claim(turn, entry, self.gateway.max_window_messages)

    async def plan(self, claimed: Claimed, target: Target, said: Message | None) -> Plan:
        session, gateway = claimed.session, self.gateway
        _check_tool_results(claimed.messages[-1:], self.request.messages)
        request = GenerateRequest(
            model=target.model.name,
            config=self.options.config,
            tools=self.request.tools,
            tool_choice=self.request.tool_choice,
            provider_options=self.options.provider_options,
        )
        counter = target.token_counter

        async def count(messages: Sequence[Message]) -> int:
            assert counter is not None
            return await counter.count_tokens(replace(request, messages=tuple(messages)))

        selection = await select(
            system=system_messages(session, gateway.context_types) if session is not None else (),
            history=claimed.messages,
            message_count=session.message_count if session is not None else 0,
            new=self.request.messages if said is None else (*self.request.messages, said),
            context_window=target.model.context_window,
            answer_tokens=self.options.config.max_output_tokens,
            truncate=self.request.truncate,
            count=count if counter is not None else None,
            tools=self.request.tools,
        )
        if lacking := target.lacks(_needs_of(selection.messages)):
            raise UnsupportedByModel(
                f"the model {target.name} cannot do {lacking}, which the history needs: choose another; ListModels "
                "says what each can do",
                metadata={"model": target.name, "capability": lacking},
            )
        return Plan(request=replace(request, messages=selection.messages), window=selection.window)

    async def commit(self, turn: Turn, message: Message, events: bytes) -> tuple[Turn, Message]:
        sessions = self.gateway.sessions
        if not turn.session:
            await sessions.release(turn, events)
            return turn, message
        turn, stored = await sessions.commit(turn, (*self.request.messages, message), events=events)
        return turn, stored[-1]


class _Completion(_TurnWork):
    def __init__(self, gateway: Gateway, request: CompletionInput, catalogue: Catalogue) -> None:
        super().__init__(gateway, request.options, catalogue, ["completion"])
        self.request = request

    async def claim(self, turn: Turn, entry: Entry) -> Claimed:
        return await self._claim(turn, entry, 0)

    async def plan(self, claimed: Claimed, target: Target, said: Message | None) -> Plan:
        request = self.request
        prompt = request.prompt
        if request.include_context and claimed.session is not None:
            context = context_text(claimed.session, self.gateway.context_types)
            prompt = f"{context}\n\n{prompt}" if context else prompt
        if said is not None:
            prompt += said.text
        generate = GenerateRequest(
            model=target.model.name,
            prompt=prompt,
            suffix=request.suffix,
            config=self.options.config,
            provider_options=self.options.provider_options,
        )
        return Plan(request=generate, window=Window(input_tokens=estimate_tokens(prompt)))

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


async def _embed(target: Target, request: EmbedInput, watch: Watch) -> Embeddings:
    if not isinstance(target.provider, Embedder):
        raise UnsupportedByModel(
            f"the provider {target.provider_name} makes no embeddings", metadata={"model": target.name}
        )
    watch.asks()
    embeddings = await target.provider.embed(
        EmbedRequest(
            model=target.model.name,
            inputs=request.inputs,
            dimensions=request.dimensions,
            provider_options=request.provider_options,
        )
    )
    if len(embeddings.vectors) != len(request.inputs):
        raise ProviderUnavailable(
            f"{target.name} gave {len(embeddings.vectors)} vectors for {len(request.inputs)} texts",
            metadata={"model": target.name},
        )
    return embeddings


def _needs_of(messages: tuple[Message, ...]) -> list[str]:
    """The capabilities that a model needs to read the messages."""
    needs: list[str] = []
    for message in messages:
        for part in message.parts:
            if type(part) is Text:
                continue
            if isinstance(part, Blob):
                need = "images"
            elif isinstance(part, ToolCall | ToolResult):
                need = "tools"
            else:
                continue
            if need not in needs:
                needs.append(need)
    return needs


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
