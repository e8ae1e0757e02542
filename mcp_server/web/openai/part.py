"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Route

from mcp_server.gateway import Gateway
from mcp_server.web.body import Convert
from mcp_server.web.edge import Answer, Operation, WebEdge
from mcp_server.web.openai.chat import Chat
from mcp_server.web.openai.completions import Completions
from mcp_server.web.openai.embeddings import Embeddings
from mcp_server.web.openai.errors import problem
from mcp_server.web.openai.models import Models
from mcp_server.web.part import Part

SERVICE: Final = "openai.v1"
"""The name of the service in logs and metrics, and for authentication."""


def part(paths: Sequence[str], gateway: Gateway, edge: WebEdge, convert: Convert) -> Part:
    """OpenAI's API under these paths.

    Args:
        paths: where it is served.
        gateway: carries out the calls.
        edge: makes endpoints of them.
        convert: reads large bodies off the event loop.
    """
    chat, completions = Chat(gateway, convert), Completions(gateway, convert)
    embeddings, models = Embeddings(gateway, convert), Models(gateway)

    def route(prefix: str, method: str, path: str, name: str, answer: Answer, kind: str = "unary") -> Route:
        endpoint = edge.endpoint(Operation(SERVICE, name, kind), answer, problem)
        return Route(prefix + path, endpoint, methods=[method])

    def routes(prefix: str) -> Sequence[BaseRoute]:
        return [
            route(prefix, "POST", "/chat/completions", "CreateChatCompletion", chat.create, "server_stream"),
            route(prefix, "POST", "/completions", "CreateCompletion", completions.create, "server_stream"),
            route(prefix, "POST", "/embeddings", "CreateEmbedding", embeddings.create),
            route(prefix, "GET", "/models", "ListModels", models.list),
            route(prefix, "GET", "/models/{model:path}", "RetrieveModel", models.get),
        ]

    return Part(paths, routes, problem)
