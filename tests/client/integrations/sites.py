"""The same site in each framework, on a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import aiohttp.web
import fastapi
import flask
import uvicorn
from werkzeug.serving import make_server

from mcp_client import MCPClient
from mcp_client.integrations import aiohttp as for_aiohttp
from mcp_client.integrations import fastapi as for_fastapi
from mcp_client.integrations import flask as for_flask

Site = Callable[..., AbstractAsyncContextManager[str]]
"""Serves a site with a chat at ``/chat`` and, of its own, ``/missing``, which looks for a session that there is not; at
the port that is given, or at any. The other arguments are those of ``WebChat``. Gives its address."""


@asynccontextmanager
async def aiohttp_site(*arguments: Any, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """With aiohttp's own server."""
    chat = for_aiohttp.WebChat(*arguments, **options)

    async def missing(request: aiohttp.web.Request) -> aiohttp.web.Response:
        await chat.client.get_session("nosuch")
        raise AssertionError

    app = aiohttp.web.Application()
    chat.init_app(app)
    app.router.add_get("/missing", missing)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    try:
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fastapi_site(*arguments: Any, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """With uvicorn."""
    chat = for_fastapi.WebChat(*arguments, **options)
    app = fastapi.FastAPI()
    chat.init_app(app)

    @app.get("/missing")
    async def missing(client: MCPClient = fastapi.Depends(chat.client)) -> None:  # noqa: B008  # FastAPI's way
        await client.get_session("nosuch")

    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def flask_site(*arguments: Any, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """With Werkzeug's server, a thread for each request."""
    chat = for_flask.WebChat(*arguments, **options)
    app = flask.Flask(__name__)
    chat.init_app(app)

    @app.get("/missing")
    def missing() -> str:
        return chat.client.get_session("nosuch").name

    server = make_server("127.0.0.1", port, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        chat.client.close()


SITES: Final[dict[str, Site]] = {"aiohttp": aiohttp_site, "fastapi": fastapi_site, "flask": flask_site}
"""By framework."""
