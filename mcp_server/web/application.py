"""The HTTP edge as one ASGI application, by itself or inside another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.api.conversions import Conversions
from mcp_server.flow import Flow
from mcp_server.gateway import Gateway
from mcp_server.interfaces import GRPCService
from mcp_server.pipeline import Pipeline
from mcp_server.settings import WebSettings
from mcp_server.web import anthropic, connect, console, openai
from mcp_server.web.edge import WebEdge
from mcp_server.web.exchange import HTTPProblem
from mcp_server.web.guards import Guards, origin_pattern
from mcp_server.web.part import Part

EXPOSED: Final = (
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "connect-accept-encoding",
    "connect-content-encoding",
    "grpc-accept-encoding",
    "grpc-message",
    "grpc-retry-pushback-ms",
    "grpc-status",
    "grpc-status-details-bin",
    "openai-processing-ms",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
)
"""The headers of responses that pages of other origins may read: those of the protocols."""


def web_application(
    settings: WebSettings,
    *,
    gateway: Gateway,
    contract: Sequence[GRPCService],
    conversions: Conversions,
    pipeline: Pipeline,
    flow: Flow,
    ready: Callable[[], Awaitable[str]],
    authenticated: bool,
) -> ASGIApp:
    """The application.

    Args:
        settings: its settings.
        gateway: carries out the calls.
        contract: the services of the contract, and more.
        conversions: runs the decoding of large requests.
        pipeline: runs each call in its middleware.
        flow: limits what calls hold.
        ready: says why the server is not ready; empty if it is.
        authenticated: whether callers need credentials.
    """
    edge = WebEdge(pipeline, flow, settings.max_body_bytes)
    # Where two serve the same path, the first one that has a route answers.
    parts: list[Part] = [
        anthropic.part(settings.paths.anthropic, settings.paths.openai, gateway, edge, conversions.run),
        openai.part(settings.paths.openai, gateway, edge, conversions.run),
        console.part(settings.paths.console),
        # The page calls the services in the folder that it was loaded from.
        connect.part(sorted({*settings.paths.connect, *settings.paths.console}), contract, edge, conversions),
    ]
    of_parts = [(route, part) for part in parts for path in part.paths for route in part.routes(path.rstrip("/"))]
    pages = [Route("/healthz", _healthz), Route("/readyz", _readyz(ready))]
    refused = _Refused([*[(page, None) for page in pages], *of_parts], parts, edge)
    routes: list[BaseRoute] = [*pages, *[route for route, _ in of_parts], Mount("/", refused)]
    if settings.base_path:
        into_the_folder = _redirect(f"{settings.base_path.rpartition('/')[2]}/")
        routes = [Route(settings.base_path, into_the_folder), Mount(settings.base_path, routes=routes)]
    cors = settings.cors
    application = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guards, cors=cors, allowed_hosts=settings.allowed_hosts, authenticated=authenticated),
            *(
                [
                    Middleware(
                        CORSMiddleware,
                        allow_origins=["*"] if "*" in cors.origins else (),
                        allow_origin_regex=None if "*" in cors.origins else origin_pattern(cors.origins).pattern,
                        allow_methods=cors.methods,
                        allow_headers=cors.headers,
                        expose_headers=[*EXPOSED, *cors.expose],
                        allow_credentials=cors.credentials,
                        max_age=cors.max_age,
                    )
                ]
                if cors.origins
                else []
            ),
        ],
        exception_handlers={HTTPException: _plain},
    )
    # Its redirects are to the host and the scheme of the request, which a proxy or a stranger has chosen.
    application.router.redirect_slashes = False
    return application


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})


def _readyz(ready: Callable[[], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
    async def readyz(request: Request) -> Response:
        problem = await ready()
        text, status = (f"not ready: {problem}\n", 503) if problem else ("ready\n", 200)
        return PlainTextResponse(text, status, headers={"cache-control": "no-store"})

    return readyz


def _redirect(address: str) -> Callable[[Request], Awaitable[Response]]:
    async def redirect(request: Request) -> Response:
        return RedirectResponse(address, 308)

    return redirect


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers=error.headers)


class _Refused:
    """Answers requests that no route takes, in the form of the API whose path they are under.

    Args:
        routes: all routes, with the part of each that belongs to one.
        parts: the parts.
        edge: begins the requests.
    """

    def __init__(self, routes: Sequence[tuple[BaseRoute, Part | None]], parts: Sequence[Part], edge: WebEdge) -> None:
        self._routes = routes
        self._parts: list[tuple[str, Part]] = sorted(
            [(path.rstrip("/"), part) for part in parts for path in part.paths], key=lambda one: -len(one[0])
        )
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        asked = f"{scope['method'][:16]} {path[:255]}"
        # Starlette looks for another route if one has the path and not the method, and so has come here.
        others = [(route, part) for route, part in self._routes if route.matches(scope)[0] is Match.PARTIAL]
        if others:
            part = others[0][1]
            allowed = ", ".join(sorted({method for route, _ in others for method in _methods(route)}))
            text = f"{asked}: the methods of this path are {allowed}"
            error = HTTPProblem(405, "UNIMPLEMENTED", text, {"allow": allowed})
        else:
            part = self._part_of(path, scope)
            error = HTTPProblem(404, "NOT_FOUND", f"{asked}: there is nothing at this path")
        exchange = self._edge.exchange(scope, receive, send)
        try:
            if part is not None:
                await part.problem(exchange, error)
                return
            headers = {"content-type": "text/plain", **error.headers}
            await exchange.answer(error.status, headers, f"{error.message}\n".encode())
        finally:
            exchange.close()

    def _part_of(self, path: str, scope: Scope) -> Part | None:
        """The part of the longest path that leads there; where there are several, the first that claims the request, or
        the last."""
        found: tuple[str, Part] | None = None
        for prefix, part in self._parts:
            if found is not None and prefix != found[0]:
                break
            if path.startswith(f"{prefix}/") or path == prefix:
                found = prefix, part
                if part.claims(scope):
                    break
        return None if found is None else found[1]


def _methods(route: BaseRoute) -> Collection[str]:
    return (route.methods if isinstance(route, Route) else None) or ()
