"""The settings of a chat in a web application."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from mcp_client._core.addresses import Address
from mcp_client._core.arguments import seconds
from mcp_client.integrations._clients import Clients
from mcp_client.integrations._web.requests import ChatRequest
from mcp_client.integrations._web.responses import ChatResponse
from mcp_client.integrations._web.tools import Tools
from mcp_client.integrations._web.visitors import Cookie, CookieKey, Visitor
from mcp_client.tools.toolset import ToolSet
from mcp_client.values import Seconds

Request = TypeVar("Request")
"""The request class of the framework."""
Options: TypeAlias = Mapping[str, Any] | Callable[[Request], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]
"""Keyword arguments, or a function that returns them for a request."""


class WebChatSettings(Generic[Request]):
    """A chat in a web application.

    Args:
        address: of the server, or several, as :class:`~mcp_client.MCPClient` takes them.
        session_of: returns the id of the session for a request, for applications that authenticate their users; an
            exception ends the request. If it returns ``None``, and by default, a cookie identifies the visitor.
        session_options: the arguments of ``create_session`` for new sessions, for example ``{"ttl": 86400}``; or a
            function that returns them for the request of the first message.
        turn_options: the arguments of ``stream_chat`` for each message, for example ``{"temperature": 0.2}``; or a
            function that returns them for the request.
        tools: Python functions that the model may call, as ``chat_with_tools`` takes them.
        max_rounds: how many rounds of calls the model may make for one message before it has to answer.
        tools_timeout: how long an answer may take with all rounds, in seconds.
        cookie: identifies visitors.
        secret: signs the cookies; at least 16 bytes. A cookie that is not signed with it starts a new visitor. All
            processes of a site need the same secret. By default each process has a random one: after a restart, and
            at another process, visitors start anew.
        max_body: the maximum size of the request of a message, in bytes.
        **client_options: further arguments of the client, for example ``credentials``.
    """

    def __init__(
        self,
        address: Address | None = None,
        *,
        session_of: Callable[[Request], str | Awaitable[str | None] | None] | None = None,
        session_options: Options[Request] = MappingProxyType({}),
        turn_options: Options[Request] = MappingProxyType({}),
        tools: Sequence[Callable[..., Any]] = (),
        max_rounds: int = 8,
        tools_timeout: Seconds = 300.0,
        cookie: Cookie = Cookie(),  # noqa: B008  # it is frozen
        secret: str | bytes | None = None,
        max_body: int = 1 << 20,
        **client_options: Any,
    ) -> None:
        self.address = address
        self.session_of = session_of
        self.session_options = session_options
        self.turn_options = turn_options
        ToolSet(tools)  # refuses what cannot be described to a model
        self.tools = Tools(
            functions=tuple(tools), max_rounds=max_rounds, timeout=seconds("tools_timeout", tools_timeout)
        )
        self.cookie = cookie
        self._cookie_key = CookieKey(secret)
        self.max_body = max_body
        self.client_options = client_options
        self.clients = Clients(address, client_options)

    def visitor(self, session: str | None, cookies: Mapping[str, str], *, path: str, turn: str) -> Visitor:
        """The visitor who makes a request.

        Args:
            session: what ``session_of`` returned; ``None``: the cookie identifies the visitor.
            cookies: of the request, by name.
            path: of the request. Each chat has a path and conversations of its own.
            turn: the last segment of the path, if it is that of a turn.
        """
        if session is not None:
            return Visitor(session)
        chat = path.removesuffix(f"/{turn}") if turn else path
        return Visitor.of_cookie(cookies.get(self.cookie.name), chat, self._cookie_key)

    def headers(self, request: ChatRequest, response: ChatResponse[Any], *, secure: bool) -> dict[str, str]:
        """The headers of the response, with the cookie of the visitor.

        Args:
            request: of the visitor.
            response: to the visitor.
            secure: whether the request came over HTTPS.
        """
        if request.turn or not request.visitor.cookie:
            return dict(response.headers)
        return {**response.headers, "Set-Cookie": self.cookie.header(request.visitor.cookie, secure=secure)}


async def resolved(setting: Any, request: Any) -> Any:
    """The value of a setting, which may be a function of the request, asynchronous or not."""
    value = setting(request) if callable(setting) else setting
    return await value if inspect.isawaitable(value) else value
