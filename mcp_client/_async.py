"""The client, asynchronous: each method makes a request, calls, and reads the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import model_pb2, session_pb2, turn_pb2
from mcp_client import _requests, _responses
from mcp_client._arguments import UNSET, Seconds, Unset, argument, seconds
from mcp_client._base import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, WATCH_PAUSE, AsyncStatuses, health
from mcp_client._calls import AsyncCalls
from mcp_client._errors import DeadlineExceeded, ServerUnavailable
from mcp_client._functions import Functions
from mcp_client._messages import (
    Embeddings,
    HealthStatus,
    Message,
    Model,
    Reply,
    Session,
    Tool,
    ToolChoice,
    Turn,
)
from mcp_client._requests import Context, Input, TurnOptions
from mcp_client._retry import DEFAULT_RETRY, OnRetry, Retries, Retry
from mcp_client._settings import TLS, Address, AsyncMetadata, Settings
from mcp_client._stream import TurnStream
from mcp_client._tools import ToolStream
from mcp_client._transport import AsyncTransport


class MCPClient:
    """Talks to one server.

    ::

        async with MCPClient() as client:
            session = await client.create_session()
            async with client.stream_chat("Hello!", session=session) as stream:
                async for token in stream:
                    print(token, end="", flush=True)

    A session is given by its id, its full name or a :class:`Session`. Every call can raise the errors of
    :mod:`mcp_client` (:class:`MCPError` and its kinds); an argument that cannot be sent raises ``TypeError`` or
    ``ValueError`` before anything is sent. A client belongs to the event loop in which it is first used.

    Args:
        address: ``host:port``, any target that gRPC resolves, or several of ``IP:port``.
        metadata: sent with each call, for example ``{"authorization": "Bearer …"}``; or, for tokens that expire, a
            function, asynchronous or not, that is asked for it before each attempt of each call.
        timeout: seconds that a call may take that asks no model. Calls that ask one take as long as their turn, unless
            they are given a ``timeout`` of their own.
        credentials: for an encrypted connection: :class:`TLS`, or what gRPC itself takes; ``None``: none.
        keepalive: seconds without traffic after which the connection is tried, at least 10.
        load_balancing: whether calls go to all servers in turn that answer and do not drain; ``None``: if several
            addresses are given. A name with several addresses is given as ``dns:///name:port``. A session, and a stream
            that goes on after its connection was lost, need servers that share their store.
        max_connections: to each server. More than one are made only if more calls run than a connection carries.
        retry: how long calls are sent again that lost their connection, or that a server could not take just then;
            ``None``: not at all.
        on_retry: told of each time that a call is about to be sent again.
    """

    def __init__(
        self,
        address: Address = DEFAULT_ADDRESS,
        *,
        metadata: AsyncMetadata | None = None,
        timeout: Seconds = DEFAULT_TIMEOUT,
        credentials: TLS | grpc.ChannelCredentials | None = None,
        keepalive: Seconds = 30.0,
        load_balancing: bool | None = None,
        max_connections: int = 1,
        retry: Retry | None = DEFAULT_RETRY,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._settings = Settings(
            address=address,
            metadata=metadata or {},
            timeout=timeout,
            credentials=credentials,
            keepalive=keepalive,
            load_balancing=load_balancing,
            max_connections=max_connections,
        )
        self._transport = AsyncTransport(self._settings)
        self._retries = Retries(retry, on_retry)
        self._calls = AsyncCalls(self._settings, self._transport, self._retries)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that run end with :class:`ServerUnavailable`.

        A closed client stays closed: later calls are a ``RuntimeError``.
        """
        await self._transport.close()

    @property
    def address(self) -> str:
        """Where the server is, as it was given; several are separated by commas."""
        return self._settings.address

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def create_session(
        self,
        session_id: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        system_instruction: str = "",
        default_model: str = "",
        context: Context | None = None,
        ttl: Seconds | None = None,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Begin a session.

        Args:
            session_id: the last part of its name; empty: the server chooses.
            labels: short facts to find it by.
            metadata: a JSON object of your own.
            system_instruction: what the model is told before every conversation.
            default_model: the model of calls that name none.
            context: what the model is told besides, by name.
            ttl: seconds that it lives unused; ``None``: as the server has it.
            request_id: a key of your own that makes the call free to retry; empty: the client makes one.
            timeout: seconds that the call may take.

        Raises:
            SessionExists: the id is taken.
        """
        request = _requests.create_session(
            session_id=session_id,
            labels=labels or {},
            metadata=metadata or {},
            system_instruction=system_instruction,
            default_model=default_model,
            context_entries=context or {},
            ttl=ttl,
            request_id=request_id,
        )
        return _responses.session(await self._calls.unary("SessionService.CreateSession", request, timeout))

    async def get_session(self, session: str | Session, *, timeout: Seconds | None = None) -> Session:
        """The session as it is now. Reading does not renew its ttl.

        Raises:
            SessionNotFound: there is none.
        """
        request = session_pb2.GetSessionRequest(name=_requests.session_name(session))
        return _responses.session(await self._calls.unary("SessionService.GetSession", request, timeout))

    async def list_sessions(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: Seconds | None = None,
    ) -> AsyncIterator[Session]:
        """All sessions that carry all of ``labels``, in the order of their creation, without context and metadata.

        Pages are fetched as they are needed; ``timeout`` holds for each.
        """
        request = _requests.list_sessions(labels or {}, newest_first=newest_first, page_size=page_size)
        while True:
            page = await self._calls.unary("SessionService.ListSessions", request, timeout)
            for session in page.sessions:
                yield _responses.session(session)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def update_session(
        self,
        session: str | Session,
        *,
        labels: Mapping[str, str] | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        system_instruction: str | Unset = UNSET,
        default_model: str | Unset = UNSET,
        ttl: Seconds | Unset | None = UNSET,
        context: Context | Unset = UNSET,
        set_context: Context | None = None,
        remove_context: Sequence[str] = (),
        etag: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Change what is given, all of it in one step, and leave the rest.

        Args:
            session: which.
            labels: takes the place of all labels; so do the next four of theirs.
            metadata: a JSON object.
            system_instruction: may be empty.
            default_model: may be empty.
            ttl: seconds; ``None``: as the server has it.
            context: takes the place of the whole context.
            set_context: entries to add or replace; not together with ``context``.
            remove_context: names to remove; not together with ``context``.
            etag: if given, the session must still have it.
            timeout: seconds that the call may take.

        Raises:
            EtagMismatch: the session has changed.
        """
        request = _requests.update_session(
            session,
            labels=labels,
            metadata=metadata,
            system_instruction=system_instruction,
            default_model=default_model,
            ttl=ttl,
            context_entries=context,
            set_context=set_context or {},
            remove_context=remove_context,
            etag=etag,
        )
        return _responses.session(await self._calls.unary("SessionService.UpdateSession", request, timeout))

    async def delete_session(self, session: str | Session, *, etag: str = "", timeout: Seconds | None = None) -> None:
        """Delete a session and all that belongs to it.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        await self._calls.unary("SessionService.DeleteSession", _requests.delete_session(session, etag), timeout)

    async def fork_session(
        self,
        session: str | Session,
        session_id: str = "",
        *,
        message_count: int | None = None,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Begin a session with the history of another, which then goes its own way.

        Instruction, model, context, labels, metadata and ttl are copied; turns are not.

        Args:
            session: the one to branch off from.
            session_id: the last part of the new one's name; empty: the server chooses.
            message_count: how many messages to keep, from the first; ``None``: all.
            request_id: a key of your own that makes the call free to retry; empty: the client makes one.
            timeout: seconds that the call may take.

        Raises:
            SessionNotFound: there is none.
            SessionExists: the id is taken.
        """
        request = _requests.fork_session(
            session, session_id=session_id, message_count=message_count, request_id=request_id
        )
        return _responses.session(await self._calls.unary("SessionService.ForkSession", request, timeout))

    async def append_messages(
        self,
        session: str | Session,
        messages: Input,
        *,
        etag: str = "",
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Add messages to the end of the history without asking a model: all or none.

        Returns the session, without context and metadata; the last of its ``message_count`` messages are these.

        Raises:
            SessionBusy: a turn runs on it.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        request = _requests.append_messages(session, messages, etag=etag, request_id=request_id)
        response = await self._calls.unary("SessionService.AppendMessages", request, timeout)
        return _responses.session(response.session)

    async def list_messages(
        self,
        session: str | Session,
        *,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: Seconds | None = None,
    ) -> AsyncIterator[Message]:
        """The whole history, from either end. Pages are fetched as they are needed; ``timeout`` holds for each."""
        request = _requests.list_messages(session, newest_first=newest_first, page_size=page_size)
        while True:
            page = await self._calls.unary("SessionService.ListMessages", request, timeout)
            for message in page.messages:
                yield _responses.message(message)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    # -- chat and completion ------------------------------------------------------------------------------------------

    async def chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Say something and wait for the whole answer.

        Args:
            messages: the new input; without a session, the whole conversation.
            session: supplies history and context, and keeps the exchange.
            tools: what the model may ask for. Its answer then ends with :class:`FinishReason` ``TOOL_CALLS``, and the
                next messages are one :meth:`Message.tool` for each of its ``message.tool_calls``.
                :meth:`chat_with_tools` does all this by itself.
            tool_choice: whether it must: ``"auto"``, ``"none"``, ``"required"``, or a :class:`ToolChoice`.
            truncation: what happens if the conversation is longer than the model can read: ``"auto"`` leaves out the
                oldest exchanges, ``"disabled"`` raises :class:`ContextTooLong`.
            timeout: seconds that this call may take, all of its attempts together; ``None``: as long as the turn. When
                the caller waits no longer, for this reason or because its task is cancelled, the turn is stopped; not
                with ``on_disconnect="continue"``.
            **options: the knobs, :class:`TurnOptions`.

        Raises:
            SessionNotFound, SessionBusy, EtagMismatch, ModelNotFound, UnsupportedByModel, ContextTooLong,
            ProviderError, TurnTimeout …
        """
        request = _requests.chat(
            messages, session=session, tools=tools, tool_choice=tool_choice, truncation=truncation, options=options
        )
        return _responses.unary_reply(await self._calls.turn("ChatService.Chat", request, timeout))

    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice | str | None = None,
        truncation: str = "auto",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Say something and get the answer as it comes. The arguments are those of :meth:`chat`.

        Args:
            after_sequence: go on behind this event of the turn that began with the same arguments and the same
                ``request_id``; nothing begins. If its process has died meanwhile, it runs again.

        Raises:
            TurnNotFound: ``after_sequence`` is given, and there is no such turn.
        """
        request = _requests.chat(
            messages,
            session=session,
            tools=tools,
            tool_choice=tool_choice,
            truncation=truncation,
            options=options,
            after_sequence=after_sequence,
        )
        return TurnStream(self._calls, "ChatService.StreamChat", request, timeout)

    async def chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Say something to a model that may ask for functions, run them, and wait for its answer.

        The model is told of each function by its name, its docstring (an ``Args:`` section describes the parameters)
        and the types of its parameters: ``str``, ``int``, ``float``, ``bool``, lists, dicts, ``Literal``, ``Enum``,
        unions, dataclasses, ``TypedDict``. It may ask for several at once; they run beside each other, asynchronous or
        not. What a function returns goes to the model as text or as JSON; what it raises, as an error that the model
        may react to.

        Each round is a turn of its own. With a ``request_id``, the later ones have it with ``.1``, ``.2`` … behind: the
        same call again runs the functions again, and comes to the same turns if they answer the same. A session is
        held only while a turn runs: what others say to it between two rounds fails with :class:`ToolResultsMissing`,
        with ``if_busy="queue"`` too.

        Args:
            messages: as in :meth:`chat`.
            tools: the functions. Those that are not asynchronous run in threads of their own.
            session: as in :meth:`chat`.
            tool_choice: for the first round; the others leave it to the model.
            max_rounds: how often the model may ask. After that it is told to answer without.
            truncation: as in :meth:`chat`.
            timeout: seconds for all rounds together. Functions that take longer are not waited for: asynchronous ones
                are cancelled, others run on in their threads, and nobody hears of them.
            **options: the knobs, :class:`TurnOptions`, of each round; ``etag`` holds for the first.

        Raises:
            TypeError: a function cannot be described to a model.
            ToolRoundsExceeded: the model asks even then.
            DeadlineExceeded: the time is over.
        """
        stream = self.stream_chat_with_tools(
            messages,
            tools=tools,
            session=session,
            tool_choice=tool_choice,
            max_rounds=max_rounds,
            truncation=truncation,
            timeout=timeout,
            **options,
        )
        async with stream:
            return await stream.reply()

    def stream_chat_with_tools(
        self,
        messages: Input,
        *,
        tools: Sequence[Callable[..., Any]],
        session: str | Session | None = None,
        tool_choice: ToolChoice | str | None = None,
        max_rounds: int = 8,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> ToolStream:
        """The same, as it comes. The arguments are those of :meth:`chat_with_tools`."""
        _requests.check_rounds(options, max_rounds)
        functions = Functions(tools)

        def ask(
            said: Sequence[Message], number: int, choice: ToolChoice | str | None, left: float | None
        ) -> TurnStream:
            return self.stream_chat(
                said,
                session=session,
                tools=functions.tools,
                tool_choice=choice,
                truncation=truncation,
                timeout=left,
                **_requests.of_round(options, number),
            )

        return ToolStream(
            ask,
            functions,
            _requests.said(messages),
            in_session=session is not None,
            tool_choice=tool_choice,
            max_rounds=max_rounds,
            timeout=None if timeout is None else seconds("timeout", timeout),
        )

    async def complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Go on from a raw prompt and wait for the whole answer.

        Args:
            prompt: the text to go on from.
            suffix: the text that follows what is to be written.
            session: supplies the model and the context; its history is left alone.
            include_context: put the session's context before the prompt.
            save_as: keep the answer as the session's context entry of this name.
            timeout: seconds that this call may take, as in :meth:`chat`.
            **options: the knobs, :class:`TurnOptions`.
        """
        request = _requests.complete(
            prompt,
            suffix=suffix,
            session=session,
            include_context=include_context,
            save_as=save_as,
            options=options,
        )
        return _responses.unary_reply(await self._calls.turn("CompletionService.Complete", request, timeout))

    def stream_complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        after_sequence: int | None = None,
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Go on from a raw prompt and get the answer as it comes. The arguments are those of :meth:`complete`.

        Args:
            after_sequence: as in :meth:`stream_chat`.
        """
        request = _requests.complete(
            prompt,
            suffix=suffix,
            session=session,
            include_context=include_context,
            save_as=save_as,
            options=options,
            after_sequence=after_sequence,
        )
        return TurnStream(self._calls, "CompletionService.StreamComplete", request, timeout)

    # -- turns --------------------------------------------------------------------------------------------------------

    async def get_turn(self, turn: str | Turn, *, timeout: Seconds | None = None) -> Turn:
        """A turn as it is now, with what has been said so far.

        Raises:
            TurnNotFound: there is none, or it is kept no longer.
        """
        request = turn_pb2.GetTurnRequest(name=_requests.turn_name(turn))
        return _responses.turn(await self._calls.unary("TurnService.GetTurn", request, timeout))

    async def list_turns(
        self, session: str | Session, *, page_size: int = 0, timeout: Seconds | None = None
    ) -> AsyncIterator[Turn]:
        """The turns of a session that are still kept, the newest first, without their messages.

        Pages are fetched as they are needed; ``timeout`` holds for each.

        Raises:
            SessionNotFound: there is none.
        """
        request = _requests.list_turns(session, page_size=page_size)
        while True:
            page = await self._calls.unary("TurnService.ListTurns", request, timeout)
            for turn in page.turns:
                yield _responses.turn(turn)
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    def stream_turn(self, turn: str | Turn, *, after_sequence: int = 0, timeout: Seconds | None = None) -> TurnStream:
        """Watch a turn, live or from the record. Any number of readers may; each gets all of it.

        Args:
            turn: its full name.
            after_sequence: begin behind this event; 0: at the first.
            timeout: seconds that this call may take; ``None``: as long as the turn.

        Raises:
            TurnNotFound: there is none, or it is kept no longer.
            SequenceUnknown: there was no such event.
            TurnInterrupted: its process died, and nobody has sent its request again.
        """
        request = _requests.stream_turn(turn, after_sequence)
        return TurnStream(
            self._calls, "TurnService.StreamTurn", request, timeout, turn=_requests.turn_name(turn), watches=True
        )

    async def cancel_turn(self, turn: str | Turn, *, timeout: Seconds | None = None) -> Turn:
        """Stop a turn, and return it as it ended: cancelled, or otherwise if that came first.

        Raises:
            TurnNotFound: there is none, or it is kept no longer.
        """
        request = turn_pb2.CancelTurnRequest(name=_requests.turn_name(turn))
        return _responses.turn(await self._calls.unary("TurnService.CancelTurn", request, timeout))

    # -- embeddings, models, health -----------------------------------------------------------------------------------

    async def embed(
        self,
        inputs: str | Sequence[str],
        *,
        model: str = "",
        session: str | Session | None = None,
        dimensions: int | None = None,
        provider_options: Mapping[str, Any] | None = None,
        timeout: Seconds | None = None,
    ) -> Embeddings:
        """Turn texts into vectors, in order.

        More texts than the model takes at once go in several batches, one after another, all to the same model. If one
        of them fails, the call does.

        Args:
            inputs: one text or any number of them.
            model: an alias or ``provider/model``; empty: the session's, then the server's default.
            session: supplies the model, and is renewed.
            dimensions: the wished length of the vectors, for models that can shorten theirs.
            provider_options: passed on to the provider as they are.
            timeout: seconds that this call may take, all of its batches together.
        """
        request = _requests.embed(
            inputs, model=model, session=session, dimensions=dimensions, provider_options=provider_options or {}
        )
        return _responses.embeddings(await self._calls.embed(request, timeout))

    async def list_models(self, *, timeout: Seconds | None = None) -> Sequence[Model]:
        """What the server can answer with, by name."""
        request = model_pb2.ListModelsRequest()
        models: list[Model] = []
        while True:
            page = await self._calls.unary("ModelService.ListModels", request, timeout)
            models += [_responses.model(model) for model in page.models]
            request.page_token = page.next_page_token
            if not request.page_token:
                return models

    async def get_model(self, model: str, *, timeout: Seconds | None = None) -> Model:
        """One model, by an alias or ``provider/model``.

        Raises:
            ModelNotFound: there is none.
        """
        return _responses.model(await self._calls.unary("ModelService.GetModel", _requests.get_model(model), timeout))

    async def health(self, service: str = "", *, timeout: Seconds | None = None) -> HealthStatus:
        """Whether the server (``""``), a service by its full name, or ``providers/NAME`` answers.

        Raises:
            RequestError: there is nothing of that name.
            ServerUnavailable: no server answers at all.
        """
        with argument("service"):
            request = health_pb2.HealthCheckRequest(service=service)
        response = await self._calls.unary("Health.Check", request, timeout)
        return health(response)

    async def list_health(self, *, timeout: Seconds | None = None) -> Mapping[str, HealthStatus]:
        """The same of everything that the server knows, by name."""
        response = await self._calls.unary("Health.List", health_pb2.HealthListRequest(), timeout)
        return {name: health(item) for name, item in response.statuses.items()}

    async def watch_health(self, service: str = "", *, timeout: Seconds | None = None) -> AsyncStatuses:
        """Whether it answers, now and each time that this changes, until you leave.

        Where nobody answers, it is ``UNKNOWN``, and so is what the server does not know; either may come to serve.

        Args:
            service: as in :meth:`health`.
            timeout: seconds to watch; ``None``: no end.

        Raises:
            DeadlineExceeded: ``timeout`` seconds have passed.
        """
        with argument("service"):
            request = health_pb2.HealthCheckRequest(service=service)
        attempts = self._calls.attempts("Health.Watch", None if timeout is None else seconds("timeout", timeout), 0)
        last: HealthStatus | None = None
        trouble: ServerUnavailable | None = None
        while True:
            watch = await self._calls.stream("Health.Watch", request, attempts)
            try:
                async for response in watch:
                    attempts.succeeded()
                    if (status := health(response)) is not last:
                        yield (last := status)
            except ServerUnavailable as error:
                if error.code == "CANCELLED":  # this client was closed
                    raise
                trouble = error
            except DeadlineExceeded as error:
                raise error from trouble
            finally:
                watch.cancel()
            if last is not HealthStatus.UNKNOWN:
                yield (last := HealthStatus.UNKNOWN)
            await self._calls.pause(WATCH_PAUSE)

    async def wait_until_ready(self, timeout: Seconds = DEFAULT_TIMEOUT) -> None:
        """Return when the server serves, however often it cannot be reached until then.

        Raises:
            DeadlineExceeded: it did not within ``timeout`` seconds.
        """
        limit = seconds("timeout", timeout)
        try:
            async with aclosing(self.watch_health(timeout=limit)) as statuses:
                async for status in statuses:
                    if status is HealthStatus.SERVING:
                        return
        except DeadlineExceeded as error:
            message = f"the server at {self._settings.address} was not ready within {limit:g} s"
            if isinstance(error.__cause__, ServerUnavailable):
                message += f": {error.__cause__}"
            raise DeadlineExceeded(message, error.details) from error
