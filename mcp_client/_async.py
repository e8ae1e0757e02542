"""The client, asynchronous."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import model_pb2, session_pb2
from mcp_client import _requests, _responses
from mcp_client._base import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, METHODS, Settings, path_of, response_class
from mcp_client._errors import DeadlineExceeded, Details, InternalError, ServerUnavailable, error_of
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
    TurnCompleted,
    TurnQueued,
    TurnStarted,
    Usage,
)
from mcp_client._requests import UNSET, Context, Input, Seconds, TurnOptions, Unset

_HEALTH = {
    health_pb2.HealthCheckResponse.SERVING: HealthStatus.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING: HealthStatus.NOT_SERVING,
}


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
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        keepalive: float = 30.0,
    ) -> None:
        self._settings = Settings(address=address, metadata=metadata or {}, timeout=timeout, keepalive=keepalive)
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that run end."""
        channel, self._channel = self._channel, None
        self._calls.clear()
        if channel is not None:
            await channel.close()

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
        timeout: float | None = None,
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

    async def get_session(self, session: str | Session, *, timeout: float | None = None) -> Session:
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
        timeout: float | None = None,
    ) -> AsyncIterator[Session]:
        """All sessions that carry all of ``labels``, in the order of their creation, without context and metadata.

        Pages are fetched as they are needed; ``timeout`` holds for each.
        """
        request = session_pb2.ListSessionsRequest(newest_first=newest_first, page_size=page_size)
        with _requests.argument("labels"):
            request.labels.update(labels or {})
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
        timeout: float | None = None,
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

    async def delete_session(self, session: str | Session, *, etag: str = "", timeout: float | None = None) -> None:
        """Delete a session and all that belongs to it.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        request = session_pb2.DeleteSessionRequest(name=_requests.session_name(session), etag=etag)
        await self._call("SessionService.DeleteSession", request, timeout)

    async def append_messages(
        self, session: str | Session, messages: Input, *, etag: str = "", timeout: float | None = None
    ) -> Session:
        """Add messages to the end of the history without asking a model: all or none.

        Returns the session, without context and metadata; the last of its ``message_count`` messages are these.

        Raises:
            SessionBusy: a turn runs on it.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        request = session_pb2.AppendMessagesRequest(
            parent=_requests.session_name(session), messages=_requests.messages(messages), etag=etag
        )
        response = await self._call("SessionService.AppendMessages", request, timeout)
        return _responses.session(response.session)

    async def list_messages(
        self,
        session: str | Session,
        *,
        newest_first: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
    ) -> AsyncIterator[Message]:
        """The whole history, from either end. Pages are fetched as they are needed; ``timeout`` holds for each."""
        request = session_pb2.ListMessagesRequest(
            parent=_requests.session_name(session), newest_first=newest_first, page_size=page_size
        )
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
        truncate: bool = True,
        timeout: float | None = None,
        **options: Unpack[TurnOptions],
    ) -> Reply:
        """Say something and wait for the whole answer.

        Args:
            messages: the new input; without a session, the whole conversation.
            session: supplies history and context, and keeps the exchange.
            truncate: whether old exchanges may be left out if the conversation is too long for the model.
            timeout: seconds that this call may take; ``None``: as long as the turn.
            **options: the knobs, :class:`TurnOptions`.

        Raises:
            SessionNotFound, SessionBusy, EtagMismatch, ModelNotFound, UnsupportedByModel, ContextTooLong,
            ProviderError, TurnTimeout …
        """
        request = _requests.chat(messages, session=session, truncate=truncate, options=options)
        return _responses.unary_reply(await self._call("ChatService.Chat", request, timeout, asks_model=True))

    def stream_chat(
        self,
        messages: Input,
        *,
        session: str | Session | None = None,
        truncate: bool = True,
        timeout: float | None = None,
        **options: Unpack[TurnOptions],
    ) -> TurnStream:
        """Say something and get the answer as it comes. The arguments are those of :meth:`chat`."""
        request = _requests.chat(messages, session=session, truncate=truncate, options=options)
        return TurnStream(self, "ChatService.StreamChat", request, timeout)

    async def complete(
        self,
        prompt: str,
        *,
        suffix: str = "",
        session: str | Session | None = None,
        include_context: bool = False,
        save_as: str = "",
        timeout: float | None = None,
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
        timeout: float | None = None,
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
        return TurnStream(self, "CompletionService.StreamComplete", request, timeout)

    # -- embeddings, models, health -----------------------------------------------------------------------------------

    async def embed(
        self,
        inputs: str | Sequence[str],
        *,
        model: str = "",
        session: str | Session | None = None,
        dimensions: int | None = None,
        provider_options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
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

    async def list_models(self, *, timeout: float | None = None) -> Sequence[Model]:
        """What the server can answer with, by name."""
        request = model_pb2.ListModelsRequest()
        models: list[Model] = []
        while True:
            page = await self._call("ModelService.ListModels", request, timeout)
            models += [_responses.model(model) for model in page.models]
            request.page_token = page.next_page_token
            if not request.page_token:
                return models

    async def get_model(self, model: str, *, timeout: float | None = None) -> Model:
        """One model, by an alias or ``provider/model``.

        Raises:
            ModelNotFound: there is none.
        """
        with _requests.argument("model"):
            request = model_pb2.GetModelRequest(name=f"models/{model}")
        return _responses.model(await self._call("ModelService.GetModel", request, timeout))

    async def health(self, service: str = "", *, timeout: float | None = None) -> HealthStatus:
        """Whether the server (``""``), a service by its full name, or ``providers/NAME`` answers.

        Raises:
            RequestError: there is nothing of that name.
            ServerUnavailable: no server answers at all.
        """
        with _requests.argument("service"):
            request = health_pb2.HealthCheckRequest(service=service)
        response = await self._call("Health.Check", request, timeout)
        return _HEALTH.get(response.status, HealthStatus.UNKNOWN)

    async def list_health(self, *, timeout: float | None = None) -> Mapping[str, HealthStatus]:
        """The same of everything that the server knows, by name."""
        response = await self._call("Health.List", health_pb2.HealthListRequest(), timeout)
        return {name: _HEALTH.get(item.status, HealthStatus.UNKNOWN) for name, item in response.statuses.items()}

    async def wait_until_ready(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Return when the server serves.

        Raises:
            DeadlineExceeded: it did not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        watch = self._callable("Health.Watch")
        while (left := deadline - time.monotonic()) > 0:
            call = watch(
                health_pb2.HealthCheckRequest(), timeout=left, metadata=self._settings.metadata, wait_for_ready=True
            )
            try:
                async for response in call:
                    if response.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as error:
                raised = error_of(error, self._settings.address)
                if not isinstance(raised, DeadlineExceeded | ServerUnavailable):
                    raise raised from error
            finally:
                call.cancel()
        raise DeadlineExceeded(
            f"the server at {self._settings.address} was not ready within {timeout:g} s",
            Details(code="DEADLINE_EXCEEDED"),
        )

    # -- calls --------------------------------------------------------------------------------------------------------

    def _callable(self, name: str) -> Any:
        """The call of a method. The connection is made inside the running event loop, when it is first needed."""
        if name not in self._calls:
            if self._channel is None:
                settings = self._settings
                if self._credentials is None:
                    self._channel = grpc.aio.insecure_channel(settings.address, options=settings.options)
                else:
                    self._channel = grpc.aio.secure_channel(
                        settings.address, self._credentials, options=settings.options
                    )
            method = METHODS[name]
            make: Any = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
            self._calls[name] = make(
                path_of(method),
                request_serializer=_serialized,
                response_deserializer=response_class(method).FromString,
            )
        return self._calls[name]

    async def _call(self, name: str, request: Any, timeout: float | None, *, asks_model: bool = False) -> Any:
        if timeout is None and not asks_model:
            timeout = self._settings.timeout
        try:
            return await self._callable(name)(request, timeout=timeout, metadata=self._settings.metadata)
        except grpc.RpcError as error:
            raise error_of(error, self._settings.address) from error

    def _start(self, name: str, request: Any, timeout: float | None) -> Any:
        return self._callable(name)(request, timeout=timeout, metadata=self._settings.metadata)

    def _mapped(self, error: grpc.RpcError) -> Exception:
        return error_of(error, self._settings.address)


class TurnStream:
    """An answer as it comes: a context manager that cancels the call on exit, and an async iterator of its text.

    ::

        async with client.stream_chat("Hello!") as stream:
            async for token in stream:
                print(token, end="", flush=True)
        print(stream.finish_reason, stream.usage)
    """

    def __init__(self, client: MCPClient, method: str, request: Any, timeout: float | None) -> None:
        self._client = client
        self._method = method
        self._request = request
        self._timeout = timeout
        self._call: Any = None
        self._reply: Reply | None = None
        self.turn = ""
        """The turn's full name, once it has begun."""
        self.model = ""
        """The ``provider/model`` that answers, once it has begun."""

    async def __aenter__(self) -> Self:
        self._call = self._client._start(self._method, self._request, self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.cancel()

    @property
    def usage(self) -> Usage | None:
        """What the answer took, once it is whole."""
        return self._reply.usage if self._reply is not None else None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, once it has."""
        return self._reply.finish_reason if self._reply is not None else None

    async def __aiter__(self) -> AsyncIterator[str]:
        async for event in self.events():
            if type(event) is Delta and event.text:
                yield event.text

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order. It can be read once, by this or as text.

        Raises:
            MCPError: the turn did not succeed.
        """
        if self._call is None:
            raise RuntimeError("a stream is read inside of `async with`")
        try:
            async for received in self._call:
                event = _responses.event(received, self.turn)
                if event is None:
                    continue
                if isinstance(event, TurnQueued | TurnStarted):
                    self.turn = event.turn
                if isinstance(event, TurnStarted):
                    self.model = event.model
                elif isinstance(event, TurnCompleted):
                    self._reply = event.reply
                yield event
        except grpc.RpcError as error:
            raise self._client._mapped(error) from error

    async def reply(self) -> Reply:
        """The whole answer; waits for it if it has not been read to its end.

        Raises:
            MCPError: the turn did not succeed.
        """
        if self._reply is None:
            async for _ in self.events():
                pass
        if self._reply is None:
            raise InternalError(
                "the server ended the stream as a success without saying how it ended", Details(code="INTERNAL")
            )
        return self._reply


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
