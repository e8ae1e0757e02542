# Generated from mcp_client/_aio/client.py by scripts/generate: edit that file.

"""The blocking client."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc

from mcp_client._core import defaults
from mcp_client._core.addresses import Address
from mcp_client._core.call_defaults import CallDefaults
from mcp_client._core.channel import ChannelSettings, SyncMetadata
from mcp_client._core.retry import DEFAULT_RETRY, OnRetry, Retry, RetryPolicy
from mcp_client._sync.access import AccessMethods
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.completion import CompletionMethods
from mcp_client._sync.health import HealthMethods
from mcp_client._sync.interceptors import SyncInterceptor
from mcp_client._sync.models import ModelMethods
from mcp_client._sync.sessions import SessionMethods
from mcp_client._sync.tool_chat import ToolChatMethods
from mcp_client._sync.transport import SyncTransport
from mcp_client._sync.turns import TurnMethods
from mcp_client.tls import TLS
from mcp_client.values import Seconds, Session, TurnOptions


class MCPSyncClient(
    SessionMethods, ToolChatMethods, CompletionMethods, TurnMethods, ModelMethods, AccessMethods, HealthMethods
):
    """A client of one server, or of several that share their store.

    ::

        with MCPSyncClient() as client:
            session = client.create_session()
            with client.stream_chat("Hello!", session=session) as stream:
                for token in stream:
                    print(token, end="", flush=True)

    A session is given by its id, its full name or a :class:`Session`. Every call can raise the errors of
    :mod:`mcp_client` (:class:`MCPError` and its subclasses); an invalid argument raises ``TypeError`` or ``ValueError``
    before anything is sent. Any number of threads may use a
    client. A process that forks has to do so before its first call.

    Args:
        address: ``host:port``, ``https://host:port`` for one with TLS, any target that gRPC resolves, or several
            ``IP:port``; ``None``: that of the variable ``CONTEXTPROTOCOL_ADDRESS``, or else ``127.0.0.1:50051``.
        metadata: the headers of each call, for example ``{"authorization": "Bearer …"}``; or, for tokens that expire, a
            function that returns them and is called before each attempt of each call.
        api_key: an API key, or another token that is sent as ``authorization: Bearer …`` with each call. Without
            ``credentials`` everybody between client and server can read it.
        timeout: the timeout in seconds of calls that do not involve a model. A call that does takes as long as its
            turn, unless it is given a ``timeout``.
        credentials: of an encrypted connection: :class:`TLS`, or gRPC's own; ``None``: not encrypted, unless the
            address is ``https://``; then with the authorities that ship with gRPC.
        keepalive: the interval of keepalive pings on an idle connection in seconds, at least 10.
        load_balancing: whether calls are distributed over all servers that answer and do not drain; ``None``: if
            several addresses are given. A DNS name with several addresses is written ``dns:///name:port``. Sessions,
            and streams that resume after a lost connection, need servers that share their store.
        max_connections: per server. A further connection is opened only when all others carry as many calls as they
            can.
        retry: how long calls are retried after a lost connection or a temporary failure; ``None``: no retries.
        on_retry: called before each retry.
        interceptors: gRPC's own, of ``grpc``, the outermost first; one object may intercept unary calls, streams or
            both. They see each attempt of each call, with all headers that the client sends.
        options: the :class:`TurnOptions` of all chats and completions that are given no others, for example
            ``{"model": "fast", "temperature": 0}``.
    """

    def __init__(
        self,
        address: Address | None = None,
        *,
        metadata: SyncMetadata | None = None,
        api_key: str | None = None,
        timeout: Seconds = defaults.TIMEOUT,
        credentials: TLS | grpc.ChannelCredentials | None = None,
        keepalive: Seconds = 30.0,
        load_balancing: bool | None = None,
        max_connections: int = 10,
        retry: Retry | None = DEFAULT_RETRY,
        on_retry: OnRetry | None = None,
        interceptors: Sequence[SyncInterceptor] = (),
        options: TurnOptions | None = None,
    ) -> None:
        settings = ChannelSettings(
            address=address,
            metadata=metadata or {},
            api_key=api_key,
            timeout=timeout,
            credentials=credentials,
            keepalive=keepalive,
            load_balancing=load_balancing,
            max_connections=max_connections,
        )
        self._defaults = CallDefaults().with_options(options if options is not None else {})
        self._transport = SyncTransport(settings, interceptors)
        self._calls = SyncCalls(settings, self._transport, RetryPolicy(retry, on_retry))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def with_options(self, *, session: str | Session | None = None, **options: Unpack[TurnOptions]) -> Self:
        """This client with other defaults, over the same connection: closing either closes both.

        ::

            careful = client.with_options(model="large", temperature=0)
            tour = careful.with_options(session="tour")
            tour.chat("Where are we?")

        Args:
            session: of the chats and completions that are given none; ``None``: as before.
            **options: :class:`TurnOptions` of the chats and completions that are given no others, besides those that
                this client has; ``None``: no default. ``etag`` and ``request_id`` apply to single calls alone.
        """
        view = copy.copy(self)
        view._defaults = self._defaults.with_options(options, session)
        return view

    def close(self) -> None:
        """Close the connection. Running calls raise :class:`ServerUnavailable`.

        A closed client cannot be used again: later calls raise ``RuntimeError``.
        """
        self._transport.close()

    @property
    def address(self) -> str:
        """The address of the server as it was given; several are separated by commas."""
        return self._calls.address

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}{self._defaults.described()})"
