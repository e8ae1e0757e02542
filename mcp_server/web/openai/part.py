"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Route

from mcp_server.gateway import Gateway
from mcp_server.web.edge import Answer, Operation, WebEdge
from mcp_server.web.openai.errors import problem
from mcp_server.web.openai.models import Models
from mcp_server.web.part import Part

SERVICE: Final = "openai.v1"
"""The name of the service in logs and metrics, and for authentication."""


def part(paths: Sequence[str], gateway: Gateway, edge: WebEdge) -> Part:
    """OpenAI's API under these paths."""
    models = Models(gateway)

    def route(prefix: str, method: str, path: str, name: str, answer: Answer, kind: str = "unary") -> Route:
        endpoint = edge.endpoint(Operation(SERVICE, name, kind), answer, problem)
        return Route(prefix + path, endpoint, methods=[method])

    def routes(prefix: str) -> Sequence[BaseRoute]:
        return [route(prefix, "GET", "/models", "ListModels", models.list)]

    return Part(paths, routes, problem)
