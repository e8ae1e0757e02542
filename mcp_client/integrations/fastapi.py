"""A chat in a FastAPI application.

::

    from fastapi import FastAPI
    from mcp_client.integrations.fastapi import WebChat

    app = FastAPI()
    chat = WebChat("127.0.0.1:50051")
    chat.init_app(app, prefix="/chat")

On shutdown, ASGI servers wait for open streams, uvicorn without limit. Set one, for example
``uvicorn --timeout-graceful-shutdown 1``: browsers resume when the server is back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mcp_client import MCPClient, MCPError
from mcp_client.integrations._web import aio_routes
from mcp_client.integrations._web import settings as _settings
from mcp_client.integrations._web.frames import AsyncFrames
from mcp_client.integrations._web.requests import ChatRequest
from mcp_client.integrations._web.responses import ChatResponse, problem_response
from mcp_client.integrations._web.settings import resolved
from mcp_client.integrations._web.visitors import Cookie

__all__ = ["Cookie", "WebChat"]


class WebChat(_settings.WebChatSettings[Request]):
    __doc__ = _settings.WebChatSettings.__doc__

    def init_app(self, app: FastAPI, *, prefix: str = "/chat") -> None:
        """Add the routes, the client and the error handler.

        ::

            POST prefix            send a message, and stream the answer
            GET prefix             get the latest messages, and the running turn
            GET prefix/{turn}      stream the answer of a turn, or resume it after Last-Event-ID
            DELETE prefix/{turn}   cancel a turn

        One object may serve several applications, and an application several chats, each at a path of its own. A
        :class:`~mcp_client.MCPError` that any route raises becomes the same problem response in JSON as in these
        routes.
        """
        router = APIRouter(lifespan=self._run)
        router.add_api_route("", self._conversation, methods=["GET", "POST"], include_in_schema=False)
        router.add_api_route("/{turn}", self._turn, methods=["GET", "DELETE"], include_in_schema=False)
        app.include_router(router, prefix=prefix)
        app.add_exception_handler(MCPError, _problem)

    async def client(self) -> MCPClient:
        """The client of the running event loop, for the application's own routes: they take ``Depends(chat.client)``.

        It is created on first use, and closed when the last application of this object shuts down. An application that
        is mounted in another one is not informed about that: its client is closed with the process.
        """
        return self.clients.asynchronous

    @asynccontextmanager
    async def _run(self, app: FastAPI) -> AsyncIterator[None]:
        async with self.clients.in_use():
            yield

    async def _conversation(self, request: Request) -> Response:
        return await self._respond(request, "")

    async def _turn(self, request: Request, turn: str) -> Response:
        return await self._respond(request, turn)

    async def _respond(self, request: Request, turn: str) -> Response:
        parsed = await self._parsed(request, turn)
        outcome = await aio_routes.respond(self.clients.asynchronous, parsed)
        headers = self.headers(parsed, outcome, secure=request.url.scheme == "https")
        if outcome.frames is None:
            return Response(outcome.body, outcome.status, headers)
        return _Streaming(outcome, headers)

    async def _parsed(self, request: Request, turn: str) -> ChatRequest:
        starts = request.method == "POST"
        return ChatRequest(
            method=request.method,
            path=request.url.path,
            turn=turn,
            visitor=self.visitor(
                await resolved(self.session_of, request), request.cookies, path=request.url.path, turn=turn
            ),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            session_options=await resolved(self.session_options, request) if starts else {},
            turn_options=await resolved(self.turn_options, request) if starts else {},
            tools=self.tools,
            body=await self._body(request) if starts else b"",  # last: those functions may read it too
        )

    async def _body(self, request: Request) -> bytes | None:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body:
                return None
        return bytes(body)


class _Streaming(StreamingResponse):
    """A streaming response that closes the stream of the turn as soon as the browser disconnects."""

    def __init__(self, outcome: ChatResponse[AsyncFrames], headers: Mapping[str, str]) -> None:
        assert outcome.frames is not None
        self._frames = outcome.frames
        super().__init__(self._chunks(outcome.body), outcome.status, headers)

    async def _chunks(self, first: bytes) -> AsyncFrames:
        yield first
        async for frame in self._frames:
            yield frame

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames):
            await super().__call__(scope, receive, send)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, MCPError)
    outcome = problem_response(error)
    return Response(outcome.body, outcome.status, outcome.headers)
