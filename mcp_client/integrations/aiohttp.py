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
from mcp_client.integrations import _chat, _web
from mcp_client.integrations._web import Call, Cookie, Visitor, resolved

__all__ = ["Cookie", "WebChat"]


class WebChat(_web.Settings[web.Request]):
    __doc__ = _web.Settings.__doc__

    def init_app(self, app: web.Application, *, prefix: str = "/chat") -> None:
        """Add the routes, the client and the answers to errors.

        ::

            POST prefix            says something, and streams the answer
            GET prefix             the newest messages, and the turn that runs
            GET prefix/{turn}      streams the answer of a turn, or goes on with it behind Last-Event-ID
            DELETE prefix/{turn}   stops a turn

        The client lives as long as the application. Any handler that raises a :class:`~mcp_client.MCPError` answers
        with the same problems in JSON as these routes.
        """
        self._streams: set[asyncio.Task[Any]] = set()
        app.cleanup_ctx.append(self._run)
        app.on_shutdown.append(self._leave)
        app.middlewares.append(_problems)
        app.router.add_get(prefix, self._handle, allow_head=False)
        app.router.add_post(prefix, self._handle)
        app.router.add_get(f"{prefix}/{{turn}}", self._handle, allow_head=False)
        app.router.add_delete(f"{prefix}/{{turn}}", self._handle)

    @property
    def client(self) -> MCPClient:
        """The client of the running application, for handlers of its own."""
        return self._client

    async def _run(self, app: web.Application) -> AsyncIterator[None]:
        async with MCPClient(self.address, **self.client_options) as self._client:
            yield

    async def _leave(self, app: web.Application) -> None:
        # Who reads goes on at the next server: waiting for the ends of answers would hold up this one's.
        for task in self._streams:
            task.cancel()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = await self._call(request)
        outcome = await _chat.respond(self._client, call)
        headers = self.headers(call, outcome, secure=request.secure)
        if outcome.frames is None:
            return web.Response(status=outcome.status, headers=headers, body=outcome.body)
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        response = web.StreamResponse(status=outcome.status, headers=headers)
        try:
            async with aclosing(outcome.frames):
                await response.prepare(request)
                await response.write(outcome.body)
                async for frame in outcome.frames:
                    await response.write(frame)
                await response.write_eof()
        except ConnectionError:  # the browser has left
            pass
        finally:
            self._streams.discard(task)
        return response

    async def _call(self, request: web.Request) -> Call:
        session = await resolved(self.session_of, request)
        begins = request.method == "POST"
        return Call(
            method=request.method,
            path=request.path,
            turn=request.match_info.get("turn", ""),
            visitor=Visitor.of_cookie(request.cookies.get(self.cookie.name)) if session is None else Visitor(session),
            last_event_id=request.headers.get("Last-Event-ID", ""),
            accept=request.headers.get("Accept", ""),
            content_type=request.headers.get("Content-Type", ""),
            body=await self._body(request) if begins else b"",
            session_options=await resolved(self.session_options, request) if begins else {},
            turn_options=await resolved(self.turn_options, request) if begins else {},
        )

    async def _body(self, request: web.Request) -> bytes | None:
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
        outcome = _web.problem(error)
        return web.Response(status=outcome.status, headers=outcome.headers, body=outcome.body)
