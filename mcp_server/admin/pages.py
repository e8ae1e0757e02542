"""The pages of the admin port: ``/metrics``, ``/healthz``, ``/readyz``, ``/debug/turns`` and ``/debug/models``.

They are made on threads of their own, so that ``/metrics`` and ``/healthz`` answer also while the event loop does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog

from mcp_server.admin.models import LoadedModels, with_memory
from mcp_server.errors import BadCredentials, ModelNotFound, NotAllowed
from mcp_server.interfaces import Call, Middleware
from mcp_server.settings import is_loopback
from mcp_server.values import SECOND, Clock, Turn

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger("contextprotocol.admin")

LOOP_SECONDS: Final = 2.0
"""How long the event loop may take to answer."""
READY_SECONDS: Final = 5.0
"""How long ``/readyz`` waits for the event loop and the store, whose write has a shorter limit of its own."""
MODELS: Final = "/debug/models"
"""The page of the loaded models. A model has the path of the page, a slash and its name: DELETE unloads it."""
OPERATORS_PAGES: Final = ("/debug/turns", MODELS)
"""The pages that are for operators alone."""
PAGES: Final = ("/metrics", "/healthz", "/readyz", *OPERATORS_PAGES)
"""The paths that exist."""
SERVICE: Final = "admin"
"""The name under which authentication knows the pages; their methods are their paths."""
T = TypeVar("T")
_Answer = tuple[HTTPStatus, str, bytes]


def from_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether a request, by its WSGI environment, comes from a program of this machine.

    The host in the address of the page counts too: a browser of this machine may show a foreign site whose name
    resolves to this machine (DNS rebinding), and its scripts must not read the pages.
    """
    host = str(environ.get("HTTP_HOST", ""))
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(str(environ.get("REMOTE_ADDR", ""))) and is_loopback(name)


class AdminPages:
    """The pages, as a WSGI application.

    Args:
        metrics: the page ``/metrics``.
        ready: says why the server is not ready, on the event loop; empty if it is.
        turns: the turns that run, on the event loop.
        models: the models that are loaded on this machine, on the event loop.
        clock: the time, in nanoseconds since the Unix epoch.
        authentication: with it, :data:`OPERATORS_PAGES` need the scope ``operator``, and so does ``/metrics`` for
            readers on other machines. Without it, they are for this machine alone, and ``/metrics`` for everybody.
    """

    def __init__(
        self,
        *,
        metrics: WSGIApplication,
        ready: Callable[[], Awaitable[str]],
        turns: Callable[[], Sequence[Turn]],
        models: LoadedModels,
        clock: Clock,
        authentication: Middleware | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._ready = ready
        self._turns = turns
        self._models = models
        self._clock = clock
        self._authentication = authentication

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        page, model = (MODELS, path[len(MODELS) + 1 :]) if path.startswith(f"{MODELS}/") else (path, "")
        allowed = ("DELETE",) if model else ("GET", "HEAD")
        try:
            refusal = self._refusal(page, allowed, environ)
            if refusal is None and page == "/metrics":
                return self._metrics(environ, start_response)
            status, kind, body = refusal or (self._unloaded(model) if model else self._answer(page))
        except TimeoutError:
            status, kind, body = _text(HTTPStatus.SERVICE_UNAVAILABLE, "the event loop does not answer")
        except Exception as error:
            log.error("admin page failed", path=path, exc_info=error)
            status, kind, body = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "this page failed; the log says why")
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", ", ".join(allowed)))
        if status is HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def metrics_alone(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """An application with ``/metrics`` under every path, and no other page."""
        return self({**environ, "PATH_INFO": "/metrics"}, start_response)

    def _refusal(self, path: str, allowed: Sequence[str], environ: WSGIEnvironment) -> _Answer | None:
        """Why a request is not answered.

        Raises:
            TimeoutError: the event loop does not answer.
        """
        if path not in PAGES:
            return _text(HTTPStatus.NOT_FOUND, "the pages are " + " ".join(PAGES))
        if environ["REQUEST_METHOD"] not in allowed:
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, f"only {' and '.join(allowed)}")
        if self._authentication is None:
            if path in OPERATORS_PAGES and not from_this_machine(environ):
                return _text(HTTPStatus.FORBIDDEN, "only from the machine of the server")
        elif path in OPERATORS_PAGES or (path == "/metrics" and not from_this_machine(environ)):
            return self._on_loop(self._authenticate(self._authentication, path, environ), READY_SECONDS)
        return None

    async def _authenticate(self, authentication: Middleware, path: str, environ: WSGIEnvironment) -> _Answer | None:
        call = Call(
            service=SERVICE,
            method=path,
            kind="unary",
            peer=str(environ.get("REMOTE_ADDR", "")),
            metadata={"authorization": str(environ.get("HTTP_AUTHORIZATION", ""))},
        )
        try:
            async with authentication(call):
                return None
        except BadCredentials as error:
            return _text(HTTPStatus.UNAUTHORIZED, error.message)
        except NotAllowed as error:
            return _text(HTTPStatus.FORBIDDEN, error.message)

    def _answer(self, path: str) -> _Answer:
        """The page; raises as :meth:`_refusal`."""
        if path == "/healthz":
            self._on_loop(_nothing(), LOOP_SECONDS)
            return _text(HTTPStatus.OK, "ok")
        if path == "/readyz":
            problem = self._on_loop(self._readiness(), READY_SECONDS)
            if problem:
                return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {problem}")
            return _text(HTTPStatus.OK, "ready")
        if path == MODELS:
            rows = self._on_loop(self._loaded(), LOOP_SECONDS)
            return _json({"models": [with_memory(row) for row in rows]})
        return HTTPStatus.OK, "application/json", self._on_loop(self._running(), LOOP_SECONDS)

    def _unloaded(self, model: str) -> _Answer:
        """Unload a model; raises as :meth:`_refusal`. No page of another origin can ask for it: that would need a
        method which browsers ask about first."""
        try:
            row = self._on_loop(self._unload(model), LOOP_SECONDS)
        except ModelNotFound as error:
            return _text(HTTPStatus.NOT_FOUND, error.message)
        return _json({"model": None if row is None else with_memory(row)})

    def _on_loop(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """The result of ``work``, which runs on the event loop.

        Raises:
            TimeoutError: the event loop does not come to it within ``timeout`` seconds.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    async def _readiness(self) -> str:
        return await self._ready()

    async def _loaded(self) -> list[dict[str, Any]]:
        return self._models.rows()

    async def _unload(self, model: str) -> dict[str, Any] | None:
        return self._models.unload(model)

    async def _running(self) -> bytes:
        now = self._clock()
        running = sorted(self._turns(), key=lambda turn: turn.create_time)
        return msgspec.json.encode({"turns": [_shown(turn, now) for turn in running]})


def _shown(turn: Turn, now: int) -> Mapping[str, Any]:
    """What an operator sees of a turn: never what was said."""
    attempt = turn.attempts[-1] if turn.attempts else None
    return {
        "name": turn.name,
        "tenant": turn.tenant,
        "service": turn.service,
        "model": f"{attempt.provider}/{attempt.model}" if attempt is not None else "",
        "state": turn.state.name.lower(),
        "age_seconds": round(max(now - turn.create_time, 0) / SECOND, 3),
    }


async def _nothing() -> None:
    """What the event loop runs to show that it does."""


def _json(value: Any) -> _Answer:
    return HTTPStatus.OK, "application/json", msgspec.json.encode(value)


def _text(status: HTTPStatus, text: str) -> _Answer:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()
