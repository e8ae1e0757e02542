"""A chat in a FastAPI application.

::

    from fastapi import FastAPI
    from mcp_client.integrations.fastapi import WebChat

    app = FastAPI()
    chat = WebChat("127.0.0.1:50051")
    chat.init_app(app, prefix="/chat")

A server that stops waits for its streams, uvicorn for ever: tell it how long, for example
``uvicorn --timeout-graceful-shutdown 1``. Browsers go on when it is there again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mcp_client import MCPClient, MCPError
from mcp_client.integrations import _chat, _web
from mcp_client.integrations._web import AsyncFrames, Call, Cookie, Outcome, Visitor, resolved

__all__ = ["Cookie", "WebChat"]


class WebChat(_web.Settings[Request]):
    __doc__ = _web.Settings.__doc__

    def init_app(self, app: FastAPI, *, prefix: str = "/chat") -> None:
        """Add the routes, the client and the answers to errors.

        ::

            POST prefix            says something, and streams the answer
            GET prefix             the newest messages, and the turn that runs
            GET prefix/{turn}      streams the answer of a turn, or goes on with it behind Last-Event-ID
            DELETE prefix/{turn}   stops a turn

        The client lives as long as the application. Any route that raises a :class:`~mcp_client.MCPError` answers with
        the same problems in JSON as these.
        """
        router = APIRouter(lifespan=self._run)
        router.add_api_route("", self._conversation, methods=["GET", "POST"], include_in_schema=False)
        router.add_api_route("/{turn}", self._turn, methods=["GET", "DELETE"], include_in_schema=False)
        app.include_router(router, prefix=prefix)
        app.add_exception_handler(MCPError, _problem)

    async def client(self) -> MCPClient:
        """The client of the running application, for routes of its own: they take ``Depends(chat.client)``."""
        return self._client

    @asynccontextmanager
    async def _run(self, app: FastAPI) -> AsyncIterator[None]:
        async with MCPClient(self.address, **self.client_options) as self._client:
            yield

    async def _conversation(self, request: Request) -> Response:
        return await self._respond(request, "")

    async def _turn(self, request: Request, turn: str) -> Response:
        return await self._respond(request, turn)

    async def _respond(self, request: Request, turn: str) -> Response:
        call = await self._call(request, turn)
        outcome = await _chat.respond(self._client, call)
        headers = self.headers(call, outcome, secure=request.url.scheme == "https")
        if outcome.frames is None:
            return Response(outcome.body, outcome.status, headers)
        return _Streaming(outcome, headers)

    async def _call(self, request: Request, turn: str) -> Call:
        session = await resolved(self.session_of, request)
        begins = request.method == "POST"
        return Call(
            method=request.method,
            path=request.url.path,
            turn=turn,
            visitor=Visitor.of_cookie(request.cookies.get(self.cookie.name)) if session is None else Visitor(session),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            body=await self._body(request) if begins else b"",
            session_options=await resolved(self.session_options, request) if begins else {},
            turn_options=await resolved(self.turn_options, request) if begins else {},
        )

    async def _body(self, request: Request) -> bytes | None:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body:
                return None
        return bytes(body)


class _Streaming(StreamingResponse):
    """A response that lets go of the turn in the moment in which its reader leaves."""

    def __init__(self, outcome: Outcome[AsyncFrames], headers: Mapping[str, str]) -> None:
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
    outcome = _web.problem(error)
    return Response(outcome.body, outcome.status, outcome.headers)
