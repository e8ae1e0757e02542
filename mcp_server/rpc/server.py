"""The gRPC server: one handler for every method of the contract, built from its descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, session_pb2, turn_pb2
from mcp_server.api.chat import ChatService, CompletionService
from mcp_server.api.embedding import EmbeddingService
from mcp_server.api.model import ModelService
from mcp_server.api.session import SessionService
from mcp_server.api.turn import TurnService
from mcp_server.errors import ConfigError
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Middleware
from mcp_server.rpc.edge import Edge
from mcp_server.rpc.health import Health
from mcp_server.rpc.reflection import Reflection

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024

_OPTIONS: Final = (
    # A second server on the same port is an error, not a silent share of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Clients may ping every ten seconds, also while nothing runs; the default hangs up on them.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class GRPCServer:
    """Serves the contract, health and reflection on one port.

    Args:
        gateway: carries out the calls.
        middleware: entered around each call, the first outermost.
    """

    def __init__(self, gateway: Gateway, middleware: Sequence[Middleware]) -> None:
        services: dict[ServiceDescriptor, object] = {
            session_pb2.DESCRIPTOR.services_by_name["SessionService"]: SessionService(gateway),
            chat_pb2.DESCRIPTOR.services_by_name["ChatService"]: ChatService(gateway),
            completion_pb2.DESCRIPTOR.services_by_name["CompletionService"]: CompletionService(gateway),
            embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]: EmbeddingService(gateway),
            turn_pb2.DESCRIPTOR.services_by_name["TurnService"]: TurnService(gateway),
            model_pb2.DESCRIPTOR.services_by_name["ModelService"]: ModelService(gateway),
        }
        self.health = Health([service.full_name for service in services], gateway.router)
        services[health_pb2.DESCRIPTOR.services_by_name["Health"]] = self.health
        edge = Edge(middleware)
        self._handlers = [
            grpc.method_handlers_generic_handler(service.full_name, _handlers(edge, service, implementation))
            for service, implementation in services.items()
        ]
        reflection = Reflection([service.full_name for service in services])
        self._handlers += [grpc.method_handlers_generic_handler(*service) for service in reflection.handlers()]
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on ``host:port``, port 0 for any; return the port. Calls are answered at once.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(self._handlers)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(
                f"server.address: cannot listen on {address}: the port is in use, or the address is not this machine's"
            ) from error
        await server.start()
        self._server = server
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let those that run end for ``grace`` seconds, and close."""
        self.health.close()
        if self._server is not None:
            # Watches end by themselves in the next step of the loop.
            await asyncio.sleep(0)
            await self._server.stop(grace)


def _handlers(
    edge: Edge, service: ServiceDescriptor, implementation: object
) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    handlers = {}
    for method in service.methods:
        answer: Any = getattr(implementation, method.name, None)
        if answer is None:
            handlers[method.name] = edge.missing(method)
        else:
            handlers[method.name] = (edge.stream if method.server_streaming else edge.unary)(method, answer)
    return handlers
