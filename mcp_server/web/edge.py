"""What surrounds every call over HTTP: middleware, limits, the end of its caller, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.errors import MCPError, Overloaded
from mcp_server.flow import Flow
from mcp_server.interfaces import Call
from mcp_server.pipeline import CallerLeft, OtherStatus, Pipeline, repeated_keys
from mcp_server.web.exchange import Exchange, peer_of, received_headers


class Operation(NamedTuple):
    """What a call does, for authentication, logs, metrics and traces."""

    service: str
    """The full name of a service, for example ``contextprotocol.v1.ChatService`` or ``openai.v1``."""
    method: str
    """The method, for example ``StreamChat``."""
    kind: str = "unary"
    """``unary``, or ``server_stream`` for a call that can last: its credentials are checked again while it runs."""


Answer = Callable[[Call, Exchange], Awaitable[None]]
"""Carries out one call and writes its response."""
Problem = Callable[[Exchange, "MCPError | OtherStatus"], Awaitable[None]]
"""Writes an error as the API in question does: as the whole response, or as its end if it has begun."""


class WebEdge:
    """Makes ASGI applications of operations.

    Args:
        pipeline: runs each call in its middleware, before the body is read.
        flow: limits what calls hold.
        max_body_bytes: the largest body of a request.
    """

    def __init__(self, pipeline: Pipeline, flow: Flow, max_body_bytes: int) -> None:
        self._pipeline = pipeline
        self._flow = flow
        self.max_body_bytes = max_body_bytes
        """The largest body of a request."""

    def endpoint(self, operation: Operation, answer: Answer, problem: Problem, *, key_header: str = "") -> ASGIApp:
        """An application that carries out one operation.

        Args:
            operation: what it is.
            answer: carries it out.
            problem: writes errors.
            key_header: a header beside ``authorization`` in which callers may send their key.
        """
        return _Endpoint(self, operation, answer, problem, key_header)

    async def run(self, call: Call, exchange: Exchange, answer: Answer) -> MCPError | OtherStatus | None:
        """Carry out a call; return how it failed, if it did."""

        async def inner(call: Call) -> None:
            await answer(call, exchange)

        try:
            await self._pipeline.run(call, inner)
        except (MCPError, OtherStatus) as error:
            error.__traceback__ = None  # its frames hold the request
            return error
        except CallerLeft:
            pass  # before its body had arrived
        return None

    def exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """A request begins, in the present task; it is closed at the end."""
        return Exchange(scope, receive, send, self._flow.begin(), self.max_body_bytes)


class _Endpoint:
    """An object, since Starlette takes a function for something else."""

    def __init__(self, edge: WebEdge, operation: Operation, answer: Answer, problem: Problem, key_header: str) -> None:
        self._edge = edge
        self._operation = operation
        self._answer = answer
        self._problem = problem
        self._key_header = key_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._edge.exchange(scope, receive, send)
        try:
            failure = await self._edge.run(_call(self._operation, scope, self._key_header), exchange, self._answer)
            if failure is not None and not exchange.unread:
                await self._problem(exchange, failure)
        except Overloaded:
            pass  # the caller does not read the error either
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            # That the caller has left ends this call alone; another cancellation goes on.
            if not exchange.left or task.uncancel():
                raise
        finally:
            if exchange.unread:
                await exchange.abort()
            exchange.close()


def _call(operation: Operation, scope: Scope, key_header: str) -> Call:
    headers = received_headers(scope)
    if key_header:
        headers = [
            ("authorization", f"Bearer {value}") if key == key_header else (key, value) for key, value in headers
        ]
    metadata = dict(headers)
    return Call(
        service=operation.service,
        method=operation.method,
        kind=operation.kind,
        peer=peer_of(scope),
        metadata=metadata,
        repeated=repeated_keys(metadata, headers),
    )
