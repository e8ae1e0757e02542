"""The routes of the services."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.api.call import answer_of, kind_of
from mcp_server.api.conversions import Conversions
from mcp_server.errors import MCPError
from mcp_server.interfaces import GRPCService
from mcp_server.pipeline import OtherStatus
from mcp_server.web.connect.failures import failure_of
from mcp_server.web.connect.method import Method
from mcp_server.web.connect.protocols import protocol_of
from mcp_server.web.edge import Operation, WebEdge
from mcp_server.web.exchange import Exchange, HTTPProblem
from mcp_server.web.part import Part


def part(paths: Sequence[str], services: Sequence[GRPCService], edge: WebEdge, conversions: Conversions) -> Part:
    """The services under these paths, by all protocols.

    Args:
        paths: where.
        services: the services.
        edge: surrounds their calls.
        conversions: runs those of large messages.
    """
    endpoints = {service.descriptor.full_name: _Service(service, edge, conversions) for service in services}

    def routes(prefix: str) -> Sequence[BaseRoute]:
        return [Route(f"{prefix}/{name}/{{method}}", endpoint) for name, endpoint in endpoints.items()]

    return Part(paths, routes, problem)


async def problem(exchange: Exchange, error: MCPError | OtherStatus) -> None:
    """Write an error in the protocol of the request."""
    await protocol_of(exchange).fail(exchange, failure_of(error))


class _Service:
    """The methods of one service."""

    def __init__(self, service: GRPCService, edge: WebEdge, conversions: Conversions) -> None:
        self._edge = edge
        self._name = service.descriptor.full_name
        self._methods: dict[str, ASGIApp] = {}
        for method in service.descriptor.methods:
            answer = Method(method, answer_of(service, method), conversions, edge.max_body_bytes)
            operation = Operation(self._name, method.name, kind_of(method))
            self._methods[method.name] = edge.endpoint(operation, answer, problem)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path_params"]["method"]
        endpoint = self._methods.get(name)
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        exchange = self._edge.exchange(scope, receive, send)
        try:
            text = f"{self._name} has no method {name[:255]!r}"
            await problem(exchange, HTTPProblem(404, "UNIMPLEMENTED", text))
        finally:
            exchange.close()
