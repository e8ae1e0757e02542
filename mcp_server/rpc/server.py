"""The gRPC server: one handler for every method of every service, built from descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from mcp_server.api.conversions import Conversions
from mcp_server.errors import ConfigError
from mcp_server.flow import MAX_REQUEST_BYTES, Flow
from mcp_server.gateway import Gateway
from mcp_server.interfaces import GRPCService
from mcp_server.pipeline import Pipeline
from mcp_server.rpc.descriptors import descriptors_for_connections
from mcp_server.rpc.edge import Edge
from mcp_server.rpc.health import Health
from mcp_server.rpc.lost_answers import keep_out_of_log
from mcp_server.rpc.reflection import reflection_services
from mcp_server.rpc.tls import ListenerCertificates
from mcp_server.settings import ServerSettings

HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"]
KEEPALIVE: Final = (30.0, 10.0)
"""After how many seconds of silence a client is pinged, and how long it may take to answer. One that is gone without a
word, as after a power cut, would otherwise keep its connection, and the readers of its turns, for two hours."""


def options(keepalive: tuple[float, float] = KEEPALIVE) -> tuple[tuple[str, int], ...]:
    """The options of gRPC's server."""
    interval, timeout = [int(seconds * 1000) for seconds in keepalive]
    return (
        # A second server on the same port is an error, not a silent share of the calls.
        ("grpc.so_reuseport", 0),
        # Of a compressed request, the size that it has unpacked.
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        # Clients may ping every ten seconds, also while nothing runs; the default hangs up on them.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", interval),
        ("grpc.keepalive_timeout_ms", timeout),
        # What a client still sends satisfies the keepalive, although nothing may reach it any more.
        ("grpc.http2.ping_timeout_ms", 2 * timeout),
        # While a server waits for a model it sends only pings.
        ("grpc.http2.max_pings_without_data", 0),
    )


class GRPCServer:
    """Serves services, health and reflection on one port, all behind the same middleware.

    Args:
        gateway: knows the health of providers.
        pipeline: runs each call in its middleware.
        services: those of the contract, and more.
        flow: limits what calls hold.
        conversions: runs the decoding of large requests.
        settings: the limits of connections.
        certificates: what connections are encrypted with; ``None``: they are not.

    Raises:
        ConfigError: two services have the same name.
    """

    def __init__(
        self,
        gateway: Gateway,
        pipeline: Pipeline,
        services: Sequence[GRPCService],
        *,
        flow: Flow,
        conversions: Conversions,
        settings: ServerSettings,
        certificates: ListenerCertificates | None = None,
    ) -> None:
        self._settings = settings
        served = list(services)
        self.health = Health([service.descriptor.full_name for service in served], gateway)
        self.health_service = GRPCService(descriptor=HEALTH, implementation=self.health)
        """The health, for other edges."""
        served.append(self.health_service)
        served += reflection_services([service.descriptor for service in served])
        names: set[str] = set()
        for service in served:
            if service.descriptor.full_name in names:
                raise ConfigError(
                    f"the gRPC service {service.descriptor.full_name} is served already: remove one of the two"
                )
            names.add(service.descriptor.full_name)
        self._certificates = certificates
        verified = certificates is not None and certificates.clients_verified
        edge = Edge(pipeline, flow, conversions, clients_verified=verified)
        self._handlers = [edge.handlers(service) for service in served if service is not self.health_service]
        self._health_methods = edge.methods(self.health_service)
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> int:
        """Listen on ``host:port``, port 0 for any; return the port. Calls are answered at once.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        keep_out_of_log()
        settings = self._settings
        limits = (
            ("grpc.max_allowed_incoming_connections", min(settings.max_connections, descriptors_for_connections())),
            # Without a limit, one connection that opens streams and resets them takes the place of all other callers.
            ("grpc.max_concurrent_streams", settings.max_streams),
            ("grpc.max_connection_idle_ms", int(settings.idle_timeout * 1000)),
            # gRPC accepts one call after the other, as fast as the event loop goes round. The others wait outside.
            ("grpc.server.max_pending_requests", settings.max_pending),
            ("grpc.server.max_pending_requests_hard_limit", settings.max_pending),
        )
        server = grpc.aio.server(options=(*options(), *limits))
        server.add_generic_rpc_handlers(self._handlers)
        # Calls of registered methods do not wait behind those of others: an overloaded server is not a dead one.
        server.add_registered_method_handlers(HEALTH.full_name, self._health_methods)
        try:
            if self._certificates is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._certificates.credentials())
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
