"""The pages of the admin port: ``/metrics``, ``/healthz``, ``/readyz`` and ``/debug/turns``.

They are made on threads of their own, so that ``/metrics`` and ``/healthz`` answer also while the event loop does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog

from mcp_server.errors import BadCredentials, NotAllowed
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
PAGES: Final = ("/metrics", "/healthz", "/readyz", "/debug/turns")
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
        clock: the time, in nanoseconds since the Unix epoch.
        authentication: with it, ``/debug/turns`` needs the scope ``operator``, and so does ``/metrics`` for readers on
            other machines. Without it, ``/debug/turns`` is for this machine alone, and ``/metrics`` for everybody.
    """

    def __init__(
        self,
        *,
        metrics: WSGIApplication,
        ready: Callable[[], Awaitable[str]],
        turns: Callable[[], Sequence[Turn]],
        clock: Clock,
        authentication: Middleware | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        self._ready = ready
        self._turns = turns
        self._clock = clock
        self._authentication = authentication

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        try:
            refusal = self._refusal(path, environ)
            if refusal is None and path == "/metrics":
                return self._metrics(environ, start_response)
            status, kind, body = refusal or self._answer(path)
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
            headers.append(("Allow", "GET, HEAD"))
        if status is HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", "Bearer"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def metrics_alone(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """An application with ``/metrics`` under every path, and no other page."""
        return self({**environ, "PATH_INFO": "/metrics"}, start_response)

    def _refusal(self, path: str, environ: WSGIEnvironment) -> _Answer | None:
        """Why a request is not answered.

        Raises:
            TimeoutError: the event loop does not answer.
        """
        if path not in PAGES:
            return _text(HTTPStatus.NOT_FOUND, "the pages are " + " ".join(PAGES))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        if self._authentication is None:
            if path == "/debug/turns" and not from_this_machine(environ):
                return _text(HTTPStatus.FORBIDDEN, "only from the machine of the server")
        elif path == "/debug/turns" or (path == "/metrics" and not from_this_machine(environ)):
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
        return HTTPStatus.OK, "application/json", self._on_loop(self._running(), LOOP_SECONDS)

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


def _text(status: HTTPStatus, text: str) -> _Answer:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()
