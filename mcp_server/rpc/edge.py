"""What surrounds every call: decoding, middleware, errors. Written once, for all kinds of methods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from mcp_server.api.call import Answer, answer_of, kind_of
from mcp_server.api.conversions import LARGE_BYTES, Conversions
from mcp_server.api.wire_limits import Parse, parser
from mcp_server.errors import MCPError
from mcp_server.flow import Flow
from mcp_server.interfaces import Call, GRPCService
from mcp_server.pipeline import CallerLeft, Inner, Pipeline, repeated_keys
from mcp_server.rpc.status import PlainStatus, Status, status_and_trailers
from mcp_server.rpc.tls import peer_certificate

Context = grpc.aio.ServicerContext[Any, Any]


class Edge:
    """Makes gRPC handlers of services.

    Args:
        pipeline: runs each call in its middleware, before the request is read.
        flow: limits what calls hold.
        conversions: runs the decoding of large requests.
        clients_verified: whether clients have certificates, which calls then carry.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        flow: Flow,
        conversions: Conversions,
        *,
        clients_verified: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._flow = flow
        self._conversions = conversions
        self._clients_verified = clients_verified

    def handlers(self, service: GRPCService) -> grpc.GenericRpcHandler:
        """The handlers of all methods of a service, as one."""
        return grpc.method_handlers_generic_handler(service.descriptor.full_name, self.methods(service))

    def methods(self, service: GRPCService) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The handlers of all methods of a service, by the names of the methods."""
        return {method.name: self._handler(method, answer_of(service, method)) for method in service.descriptor.methods}

    def _handler(self, method: MethodDescriptor, answer: Answer) -> grpc.RpcMethodHandler[Any, Any]:
        kind = kind_of(method)
        parse = parser(method.input_type)
        begin = self._flow.begin

        # For gRPC every caller streams: it would keep the one request of a call until its end. The request is read and
        # decoded inside the middleware: what a caller without credentials sends takes no room. Responses are written by
        # a coroutine, since gRPC does not close generators that fail. gRPC keeps the exception of `abort`, whose
        # traceback holds the frame of `handle`: there must be neither the request in that frame nor an error, which
        # leads to the request.
        async def handle(requests: Any, context: Context) -> Any:
            transfer = begin()

            async def send(message: Message) -> None:
                try:
                    await transfer.send(context.write, message.SerializeToString())
                except grpc.aio.InternalError as error:
                    # The connection broke during the write. gRPC reports that here before it cancels the task.
                    raise CallerLeft from error

            async def parsed() -> Any:
                if method.client_streaming:
                    return _all_parsed(parse, requests)
                request = await transfer.receive(context.read, grpc.aio.EOF)
                return await self._conversions.run(len(request) > LARGE_BYTES, parse, request)

            async def streamed(call: Call) -> None:
                await answer(call, await parsed(), send)

            async def answered(call: Call) -> Any:
                response: Message = await answer(call, await parsed())
                data = response.SerializeToString()
                transfer.answer(len(data))
                return data

            try:
                result = await self._run(method, kind, context, streamed if method.server_streaming else answered)
                if type(result) is Status:
                    await context.abort(*result)
                return result
            finally:
                if transfer.answering:  # gRPC sends it once this returns
                    context.add_done_callback(lambda _: transfer.close())  # type: ignore[arg-type]  # the stubs want a class
                else:
                    transfer.close()

        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(handle)
        return grpc.stream_unary_rpc_method_handler(handle)

    async def _run(self, method: MethodDescriptor, kind: str, context: Context, inner: Inner) -> Any:
        """What ``inner`` returns, or the :class:`Status` of the error that it ends with."""
        texts = [(key, value) for key, value in context.invocation_metadata() or () if isinstance(value, str)]
        metadata = dict(texts)
        call = Call(
            service=method.containing_service.full_name,
            method=method.name,
            kind=kind,
            peer=context.peer(),
            metadata=metadata,
            repeated=repeated_keys(metadata, texts),
            certificate=peer_certificate(context.auth_context()) if self._clients_verified else None,
        )
        try:
            return await self._pipeline.run(call, inner)
        except MCPError as error:
            # It may live longer than the call, in the log of a turn for example.
            error.__traceback__ = None
            return status_and_trailers(error)
        except PlainStatus as plain:
            return plain.status


async def _all_parsed(parse: Parse, requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    async for data in requests:
        yield parse(data)
