"""A chat in an aiohttp application.

::

    from aiohttp import web
    from mcp_client.integrations.aiohttp import WebChat

    chat = WebChat("127.0.0.1:50051")
    app = web.Application()
    chat.init_app(app, prefix="/chat")
    web.run_app(app)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from mcp_client import MCPClient, MCPError
from mcp_client.integrations._web import aio_routes
from mcp_client.integrations._web import settings as _settings
from mcp_client.integrations._web.requests import ChatRequest
from mcp_client.integrations._web.responses import problem_response
from mcp_client.integrations._web.settings import resolved
from mcp_client.integrations._web.visitors import Cookie

__all__ = ["Cookie", "WebChat"]


class WebChat(_settings.WebChatSettings[web.Request]):
    __doc__ = _settings.WebChatSettings.__doc__

    def init_app(self, app: web.Application, *, prefix: str = "/chat") -> None:
        """Add the routes, the client and the error handler.

        ::

            POST prefix            send a message, and stream the answer
            GET prefix             get the latest messages, and the running turn
            GET prefix/{turn}      stream the answer of a turn, or resume it after Last-Event-ID
            DELETE prefix/{turn}   cancel a turn

        One object may serve several applications, and an application several chats, each at a path of its own. A
        :class:`~mcp_client.MCPError` that any handler raises becomes the same problem response in JSON as in these
        routes.
        """
        streams: set[asyncio.Task[Any]] = set()

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, streams)

        async def leave(app: web.Application) -> None:
            # Browsers resume at the next server: waiting for the end of all answers would delay the shutdown.
            for task in streams:
                task.cancel()

        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(leave)
        app.middlewares.append(_problems)
        app.router.add_get(prefix, handle, allow_head=False)
        app.router.add_post(prefix, handle)
        app.router.add_get(f"{prefix}/{{turn}}", handle, allow_head=False)
        app.router.add_delete(f"{prefix}/{{turn}}", handle)

    @property
    def client(self) -> MCPClient:
        """The client of the running event loop, for the application's own handlers.

        It is created on first use, and closed when the last application of this object shuts down.
        """
        return self.clients.asynchronous

    async def _run(self, app: web.Application) -> AsyncIterator[None]:
        async with self.clients.in_use():
            yield

    async def _handle(self, request: web.Request, streams: set[asyncio.Task[Any]]) -> web.StreamResponse:
        parsed = await self._parsed(request)
        outcome = await aio_routes.respond(self.clients.asynchronous, parsed)
        headers = self.headers(parsed, outcome, secure=request.secure)
        if outcome.frames is None:
            return web.Response(status=outcome.status, headers=headers, body=outcome.body)
        task = asyncio.current_task()
        assert task is not None
        streams.add(task)
        response = web.StreamResponse(status=outcome.status, headers=headers)
        try:
            async with aclosing(outcome.frames):
                await response.prepare(request)
                await response.write(outcome.body)
                async for frame in outcome.frames:
                    await response.write(frame)
                await response.write_eof()
        except ConnectionError:  # the browser has disconnected
            pass
        finally:
            streams.discard(task)
        return response

    async def _parsed(self, request: web.Request) -> ChatRequest:
        starts = request.method == "POST"
        turn = request.match_info.get("turn", "")
        return ChatRequest(
            method=request.method,
            path=request.path,
            turn=turn,
            visitor=self.visitor(
                await resolved(self.session_of, request), request.cookies, path=request.path, turn=turn
            ),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            session_options=await resolved(self.session_options, request) if starts else {},
            turn_options=await resolved(self.turn_options, request) if starts else {},
            tools=self.tools,
            body=await self._body(request) if starts else b"",  # last: those functions may read it too
        )

    async def _body(self, request: web.Request) -> bytes | None:
        if request.content.at_eof():  # read by a middleware, by a function of the settings, or empty
            read = await request.read()
            return read if len(read) <= self.max_body else None
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self.max_body:
                return None
        return bytes(body)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except MCPError as error:
        outcome = problem_response(error)
        return web.Response(status=outcome.status, headers=outcome.headers, body=outcome.body)
