"""An application with the server in it, which answers OpenAI's clients under ``/ai/v1``.

Run ``uvicorn --factory starlette_models:create_app --timeout-graceful-shutdown 1``. The settings of the server are read
from where ``mcp-server`` reads them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mcp_server.app import UnifiedMCPServer
from mcp_server.settings import load


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with UnifiedMCPServer(load()) as server:
        app.mount("/ai", server.http_application())
        yield


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Welcome to the museum.")


def create_app() -> Starlette:
    return Starlette(routes=[Route("/", page)], lifespan=lifespan)
