"""The client, asynchronous: each method makes a request, calls, and reads the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import model_pb2, session_pb2
from mcp_client import _requests, _responses
from mcp_client._base import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, METHODS, WATCH_PAUSE, Answer, Settings, health, seconds
from mcp_client._errors import DeadlineExceeded, Details, ServerUnavailable
from mcp_client._messages import (
    Delta,
    Embeddings,
    Event,
    FinishReason,
    HealthStatus,
    Message,
    Model,
    Reply,
    Session,
    Usage,
)
from mcp_client._requests import UNSET, Context, Input, Seconds, TurnOptions, Unset
from mcp_client._transport import AsyncResponses, AsyncTransport


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
        address: ``host:port``, or any target that gRPC resolves.
        metadata: sent with each call, for example ``{"authorization": "Bearer …"}``.
        timeout: seconds that a call may take that asks no model. Calls that ask one take as long as their turn, unless
            they are given a ``timeout`` of their own.
        credentials: for a connection by TLS; ``None``: without.
        keepalive: seconds without traffic after which the connection is tried, at least 10.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: Seconds = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        keepalive: Seconds = 30.0,
    ) -> None:
        self._settings = Settings(address=address, metadata=metadata or {}, timeout=timeout, keepalive=keepalive)
        self._transport = AsyncTransport(self._settings, credentials)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that run end. A closed client stays closed."""
        await self._transport.close()

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
        )
        return _responses.session(await self._call("SessionService.CreateSession", request, timeout))

    async def get_session(self, session: str | Session, *, timeout: Seconds | None = None) -> Session:
        """The session as it is now. Reading does not renew its ttl.

        Raises:
            SessionNotFound: there is none.
        """
        request = session_pb2.GetSessionRequest(name=_requests.session_name(session))
        return _responses.session(await self._call("SessionService.GetSession", request, timeout))

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
            page = await self._call("SessionService.ListSessions", request, timeout)
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
        return _responses.session(await self._call("SessionService.UpdateSession", request, timeout))

    async def delete_session(self, session: str | Session, *, etag: str = "", timeout: Seconds | None = None) -> None:
        """Delete a session and all that belongs to it.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        await self._call("SessionService.DeleteSession", _requests.delete_session(session, etag), timeout)

    async def append_messages(
        self, session: str | Session, messages: Input, *, etag: str = "", timeout: Seconds | None = None
    ) -> Session:
        """Add messages to the end of the history without asking a model: all or none.

        Returns the session, without context and metadata; the last of its ``message_count`` messages are these.

        Raises:
            SessionBusy: a turn runs on it.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        request = _requests.append_messages(session, messages, etag)
        response = await self._call("SessionService.AppendMessages", request, timeout)
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
            page = await self._call("SessionService.ListMessages", request, timeout)
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
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Say something and wait for the whole answer.

        Args:
            messages: the new input; without a session, the whole conversation.
            session: supplies history and context, and keeps the exchange.
            truncation: what happens if the conversation is longer than the model can read: ``"auto"`` leaves out the
                oldest exchanges, ``"disabled"`` raises :class:`ContextTooLong`.
            timeout: seconds that this call may take; ``None``: as long as the turn.
            **options: the knobs, :class:`TurnOptions`.

        Raises:
            SessionNotFound, SessionBusy, EtagMismatch, ModelNotFound, UnsupportedByModel, ContextTooLong,
            ProviderError, TurnTimeout …
        """
        request = _requests.chat(messages, session=session, truncation=truncation, options=options)
        return _responses.unary_reply(await self._call("ChatService.Chat", request, timeout, asks_model=True))

    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        truncation: str = "auto",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Say something and get the answer as it comes. The arguments are those of :meth:`chat`."""
        request = _requests.chat(messages, session=session, truncation=truncation, options=options)
        return self._stream("ChatService.StreamChat", request, timeout)

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
            timeout: seconds that this call may take; ``None``: as long as the turn.
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
        return _responses.unary_reply(await self._call("CompletionService.Complete", request, timeout, asks_model=True))

    def stream_complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        timeout: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Go on from a raw prompt and get the answer as it comes. The arguments are those of :meth:`complete`."""
        request = _requests.complete(
            prompt,
            suffix=suffix,
            session=session,
            include_context=include_context,
            save_as=save_as,
            options=options,
        )
        return self._stream("CompletionService.StreamComplete", request, timeout)

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

        Args:
            inputs: up to the model's ``max_batch`` texts.
            model: an alias or ``provider/model``; empty: the session's, then the server's default.
            session: supplies the model, and is renewed.
            dimensions: the wished length of the vectors, for models that can shorten theirs.
            provider_options: passed on to the provider as they are.
            timeout: seconds that this call may take.
        """
        request = _requests.embed(
            inputs, model=model, session=session, dimensions=dimensions, provider_options=provider_options or {}
        )
        return _responses.embeddings(await self._call("EmbeddingService.Embed", request, timeout, asks_model=True))

    async def list_models(self, *, timeout: Seconds | None = None) -> Sequence[Model]:
        """What the server can answer with, by name."""
        request = model_pb2.ListModelsRequest()
        models: list[Model] = []
        while True:
            page = await self._call("ModelService.ListModels", request, timeout)
            models += [_responses.model(model) for model in page.models]
            request.page_token = page.next_page_token
            if not request.page_token:
                return models

    async def get_model(self, model: str, *, timeout: Seconds | None = None) -> Model:
        """One model, by an alias or ``provider/model``.

        Raises:
            ModelNotFound: there is none.
        """
        return _responses.model(await self._call("ModelService.GetModel", _requests.get_model(model), timeout))

    async def health(self, service: str = "", *, timeout: Seconds | None = None) -> HealthStatus:
        """Whether the server (``""``), a service by its full name, or ``providers/NAME`` answers.

        Raises:
            RequestError: there is nothing of that name.
            ServerUnavailable: no server answers at all.
        """
        with _requests.argument("service"):
            request = health_pb2.HealthCheckRequest(service=service)
        response = await self._call("Health.Check", request, timeout)
        return health(response)

    async def list_health(self, *, timeout: Seconds | None = None) -> Mapping[str, HealthStatus]:
        """The same of everything that the server knows, by name."""
        response = await self._call("Health.List", health_pb2.HealthListRequest(), timeout)
        return {name: health(item) for name, item in response.statuses.items()}

    async def wait_until_ready(self, timeout: Seconds = DEFAULT_TIMEOUT) -> None:
        """Return when the server serves, however often it cannot be reached until then.

        Raises:
            DeadlineExceeded: it did not within ``timeout`` seconds.
        """
        limit = seconds("timeout", timeout)
        deadline = time.monotonic() + limit
        while (left := deadline - time.monotonic()) > 0:
            watch = self._transport.stream(
                METHODS["Health.Watch"], health_pb2.HealthCheckRequest(), left, wait_for_ready=True
            )
            try:
                async for response in watch:
                    if health(response) is HealthStatus.SERVING:
                        return
            except ServerUnavailable as error:
                if error.code == "CANCELLED":  # this client was closed
                    raise
            except DeadlineExceeded:
                break
            finally:
                watch.cancel()
            await asyncio.sleep(WATCH_PAUSE)
        raise DeadlineExceeded(
            f"the server at {self._settings.address} was not ready within {limit:g} s",
            Details(code="DEADLINE_EXCEEDED"),
        )

    # -- calls --------------------------------------------------------------------------------------------------------

    async def _call(self, name: str, request: Any, timeout: Seconds | None, *, asks_model: bool = False) -> Any:
        default = None if asks_model else self._settings.timeout
        limit = default if timeout is None else seconds("timeout", timeout)
        return await self._transport.unary(METHODS[name], request, limit)

    def _stream(self, name: str, request: Any, timeout: Seconds | None) -> TurnStream:
        limit = None if timeout is None else seconds("timeout", timeout)
        return TurnStream(lambda: self._transport.stream(METHODS[name], request, limit))


class TurnStream:
    """An answer as it comes: a context manager that cancels the call on exit, and an iterator of the answer's text.

    ::

        async with client.stream_chat("Hello!") as stream:
            async for token in stream:
                print(token, end="", flush=True)
        print(stream.finish_reason, stream.usage)
    """

    def __init__(self, start: Callable[[], AsyncResponses]) -> None:
        self._start = start
        self._responses: AsyncResponses | None = None
        self._left = False
        self._answer = Answer()

    async def __aenter__(self) -> Self:
        if self._responses is not None:
            raise RuntimeError("a stream can be entered once")
        self._responses = self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        if self._responses is not None:
            self._responses.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of the text. What follows a switch to another model begins anew; ``text`` is always right.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order. What has been read, as events or as text, does not come again.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            yield event

    async def reply(self) -> Reply:
        """The whole answer; waits for it if it has not been read to its end.

        Raises:
            MCPError: the turn did not succeed.
        """
        while self._answer.reply is None and await self._next() is not None:
            pass
        return self._answer.whole()

    @property
    def turn(self) -> str:
        """The turn's full name, once it has begun."""
        return self._answer.turn

    @property
    def model(self) -> str:
        """The ``provider/model`` that answers, once it has begun."""
        return self._answer.model

    @property
    def text(self) -> str:
        """The text so far."""
        return self._answer.text

    @property
    def usage(self) -> Usage | None:
        """What the answer took, once it is whole."""
        return self._answer.reply.usage if self._answer.reply is not None else None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, once it has."""
        return self._answer.reply.finish_reason if self._answer.reply is not None else None

    async def _next(self) -> Event | None:
        """The next event that this client knows; ``None`` at the end."""
        if self._responses is None:
            raise RuntimeError("a stream is read inside of its `async with` block")
        if self._left:
            raise RuntimeError("the stream was left before its end, which stopped the answer")
        async for received in self._responses:
            if (event := self._answer.take(received)) is not None:
                return event
        return None
