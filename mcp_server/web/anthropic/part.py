"""The routes of Anthropic's API."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from mcp_server.gateway import Gateway
from mcp_server.web.anthropic.errors import problem
from mcp_server.web.anthropic.headers import VERSION
from mcp_server.web.anthropic.messages import Messages
from mcp_server.web.anthropic.models import Models
from mcp_server.web.body import Convert
from mcp_server.web.edge import Answer, Operation, WebEdge
from mcp_server.web.exchange import received_headers
from mcp_server.web.part import Part
from mcp_server.web.rates import with_rates

SERVICE: Final = "anthropic.v1"
"""The name of the service in logs and metrics, and for authentication."""
KEY_HEADER: Final = "x-api-key"
"""Where clients of this API send their key, if not in ``authorization``."""


def is_ours(scope: Scope) -> bool:
    """Whether a request is for this API: its clients always send the header."""
    return any(name == VERSION for name, _ in received_headers(scope))


class SharedRoute(Route):
    """A route of a path that another API has too."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Only requests for this API match."""
        return super().matches(scope) if scope["type"] == "http" and is_ours(scope) else (Match.NONE, {})


def part(paths: Sequence[str], shared: Collection[str], gateway: Gateway, edge: WebEdge, convert: Convert) -> Part:
    """Anthropic's API under these paths.

    Args:
        paths: where it is served.
        shared: where OpenAI's API is served, which has paths of the same names.
        gateway: carries out the calls.
        edge: makes endpoints of them.
        convert: reads large bodies off the event loop.
    """
    messages, models = Messages(gateway, convert), Models(gateway)
    others = {path.rstrip("/") for path in shared}

    def route(
        path: str, method: str, name: str, answer: Answer, kind: str = "unary", route_type: type[Route] = Route
    ) -> Route:
        operation, limited = Operation(SERVICE, name, kind), with_rates(gateway, answer)
        endpoint = edge.endpoint(operation, limited, problem, key_header=KEY_HEADER)
        return route_type(path, endpoint, methods=[method])

    def routes(prefix: str) -> Sequence[BaseRoute]:
        listed = SharedRoute if prefix in others else Route
        return [
            route(f"{prefix}/messages", "POST", "CreateMessage", messages.create, "server_stream"),
            route(f"{prefix}/messages/count_tokens", "POST", "CountTokens", messages.count),
            route(f"{prefix}/models", "GET", "ListModels", models.list, route_type=listed),
            route(f"{prefix}/models/{{model:path}}", "GET", "GetModel", models.get, route_type=listed),
        ]

    return Part(paths, routes, problem, is_ours)
