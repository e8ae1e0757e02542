"""Around every call: who calls, what it asks, how it ends. Written once, for unary calls and streams alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from mcp_server.api.codes import code_of, message_of, trailers_of
from mcp_server.errors import InternalError, InvalidArgument, MCPError, NotSupported, Violation
from mcp_server.interfaces import Call, Middleware

log = structlog.get_logger("contextprotocol.rpc")

Context = grpc.aio.ServicerContext[Any, Any]
Send = Callable[[Message], Awaitable[None]]
UnaryMethod = Callable[[Call, Any], Awaitable[Message]]
"""Answers a request."""
StreamMethod = Callable[[Call, Any, Send], Awaitable[None]]
"""Answers a request with any number of messages, each handed to ``Send``, which returns when there is room for more."""
_Inner = Callable[[Call], Awaitable[Any]]
_Around = Callable[[Call, _Inner], Awaitable[Any]]


class PlainStatus(Exception):
    """Ends a call of a standard service with the bare status that its own specification asks for."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Edge:
    """Makes gRPC handlers of plain methods.

    Args:
        middleware: entered around each call, the first outermost.
    """

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._around: _Around = _settled
        for layer in reversed(middleware):
            self._around = _layer(layer, self._around)

    def unary(self, method: MethodDescriptor, answer: UnaryMethod) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler that answers with one message."""
        parse = GetMessageClass(method.input_type).FromString

        async def handle(data: bytes, context: Context) -> bytes | None:
            async def inner(call: Call) -> bytes:
                return (await answer(call, _parsed(parse, data))).SerializeToString()

            result: bytes | None = await self._run(method, "unary", context, inner)
            return result

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(self, method: MethodDescriptor, answer: StreamMethod) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler that answers with a stream. It writes by a coroutine: gRPC does not close generators that fail."""
        parse = GetMessageClass(method.input_type).FromString

        async def handle(data: bytes, context: Context) -> None:
            write = context.write

            async def send(message: Message) -> None:
                await write(message.SerializeToString())

            async def inner(call: Call) -> None:
                await answer(call, _parsed(parse, data), send)

            await self._run(method, "server_stream", context, inner)

        return grpc.unary_stream_rpc_method_handler(handle)

    def missing(self, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        """A handler of a method of the contract that this server does not have."""

        async def refuse(call: Call, *_: Any) -> Any:
            raise NotSupported(f"this server has no {call.method} yet", metadata={"method": method.full_name})

        return self.stream(method, refuse) if method.server_streaming else self.unary(method, refuse)

    async def _run(self, method: MethodDescriptor, kind: str, context: Context, inner: _Inner) -> Any:
        call = Call(
            service=method.containing_service.full_name,
            method=method.name,
            kind=kind,
            peer=context.peer(),
            metadata={key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)},
        )
        try:
            return await self._around(call, inner)
        except MCPError as error:
            await context.abort(code_of(error), message_of(error), trailers_of(error))
        except PlainStatus as status:
            await context.abort(status.code, status.message)


def _layer(middleware: Middleware, around: _Around) -> _Around:
    async def run(call: Call, inner: _Inner) -> Any:
        async def entered(call: Call) -> Any:
            async with middleware(call):
                return await around(call, inner)

        return await _settled(call, entered)

    return run


async def _settled(call: Call, inner: _Inner) -> Any:
    """Run ``inner``; whatever it raises leaves as an :class:`MCPError`, or as the cancellation that it is."""
    try:
        result = await inner(call)
    except MCPError as error:
        call.reason, call.code = error.reason, code_of(error).name
        call.turn = call.turn or error.metadata.get("turn", "")
        raise
    except PlainStatus as status:
        call.reason = call.code = status.code.name
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The caller left, or the server stops: gRPC knows, and wants to see the cancellation.
            call.reason, call.code = "CANCELLED", "CANCELLED"
            raise
        raise _internal(call, error) from error
    except Exception as error:
        raise _internal(call, error) from error
    if call.reason is None:
        call.reason, call.code = "OK", "OK"
    return result


def _internal(call: Call, cause: BaseException) -> InternalError:
    error_id = secrets.token_hex(6)
    log.error("call failed unexpectedly", method=call.method, error_id=error_id, exc_info=cause)
    error = InternalError(
        f"the call failed by a fault of the server; its log has more under {error_id}", metadata={"error_id": error_id}
    )
    call.reason, call.code = error.reason, code_of(error).name
    return error


def _parsed(parse: Callable[[bytes], Message], data: bytes) -> Message:
    try:
        return parse(data)
    except DecodeError as error:
        problem = f"the request cannot be decoded: {error}; strings must be UTF-8"
        raise InvalidArgument([Violation(field="", description=problem)]) from error
