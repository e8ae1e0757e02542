"""The routes of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.gateway import Gateway
from mcp_server.web.body import Convert
from mcp_server.web.edge import Answer, Operation, WebEdge
from mcp_server.web.openai.chat import Chat
from mcp_server.web.openai.completions import Completions
from mcp_server.web.openai.conversation_items import ConversationItems
from mcp_server.web.openai.conversations import Conversations
from mcp_server.web.openai.embeddings import Embeddings
from mcp_server.web.openai.errors import problem
from mcp_server.web.openai.models import Models
from mcp_server.web.openai.response_tokens import ResponseTokens
from mcp_server.web.openai.responses import Responses
from mcp_server.web.part import Part
from mcp_server.web.rates import with_rates

SERVICE: Final = "openai.v1"
"""The name of the service in logs and metrics, and for authentication."""
_PARAMETERS: Final = {"completions": "prompt", "conversations": "items", "embeddings": "input", "responses": "input"}
"""The parameter that has the conversation or the text, by the first part of the path; else ``messages``."""


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
    responses, tokens = Responses(gateway, convert), ResponseTokens(gateway, convert)
    conversations, items = Conversations(gateway, convert), ConversationItems(gateway, convert)

    def endpoint(path: str, name: str, answer: Answer, kind: str = "unary") -> ASGIApp:
        conversation = _PARAMETERS.get(path.split("/")[1], "messages")
        write_error = partial(problem, conversation=conversation)
        return edge.endpoint(Operation(SERVICE, name, kind), with_rates(gateway, answer), write_error)

    def route(prefix: str, method: str, path: str, name: str, answer: Answer, kind: str = "unary") -> Route:
        return Route(prefix + path, endpoint(path, name, answer, kind), methods=[method])

    def routes(prefix: str) -> Sequence[BaseRoute]:
        response = "/responses/{response_id}"
        conversation = "/conversations/{conversation_id}"
        item = f"{conversation}/items/{{item_id}}"
        retrieve = IfStreamed(
            endpoint(response, "StreamResponse", responses.resume, "server_stream"),
            endpoint(response, "GetResponse", responses.retrieve),
        )
        return [
            route(prefix, "POST", "/chat/completions", "CreateChatCompletion", chat.create, "server_stream"),
            route(prefix, "POST", "/completions", "CreateCompletion", completions.create, "server_stream"),
            route(prefix, "POST", "/embeddings", "CreateEmbedding", embeddings.create),
            route(prefix, "GET", "/models", "ListModels", models.list),
            route(prefix, "GET", "/models/{model:path}", "RetrieveModel", models.get),
            route(prefix, "POST", "/responses", "CreateResponse", responses.create, "server_stream"),
            route(prefix, "POST", "/responses/input_tokens", "CountResponseTokens", tokens.count),
            route(prefix, "POST", "/responses/compact", "CompactResponse", tokens.compact),
            Route(prefix + response, retrieve, methods=["GET"]),
            route(prefix, "DELETE", response, "DeleteResponse", responses.delete),
            route(prefix, "POST", f"{response}/cancel", "CancelResponse", responses.cancel),
            route(prefix, "GET", f"{response}/input_items", "ListInputItems", responses.input_items),
            route(prefix, "POST", "/conversations", "CreateConversation", conversations.create),
            route(prefix, "GET", conversation, "GetConversation", conversations.retrieve),
            route(prefix, "POST", conversation, "UpdateConversation", conversations.update),
            route(prefix, "DELETE", conversation, "DeleteConversation", conversations.delete),
            route(prefix, "GET", f"{conversation}/items", "ListConversationItems", items.list),
            route(prefix, "POST", f"{conversation}/items", "CreateConversationItems", items.create),
            route(prefix, "GET", item, "GetConversationItem", items.retrieve),
            route(prefix, "DELETE", item, "DeleteConversationItem", items.delete),
        ]

    return Part(paths, routes, problem)


class IfStreamed:
    """Sends a request on by whether it asks for a stream.

    Args:
        streamed: receives those that do.
        whole: receives the others.
    """

    def __init__(self, streamed: ASGIApp, whole: ASGIApp) -> None:
        self._streamed = streamed
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streamed = Request(scope).query_params.get("stream") == "true"
        await (self._streamed if streamed else self._whole)(scope, receive, send)
