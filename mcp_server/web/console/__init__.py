"""The console: a page to chat with memory over swappable providers."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from mcp_server.errors import MCPError
from mcp_server.pipeline import OtherStatus
from mcp_server.web.exchange import Exchange, HTTPProblem
from mcp_server.web.part import Part

__all__ = ["part"]

_FOLDER: Final = Path(__file__).parent / "static"

_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
"""What the page may load, run and call: nothing but what this server gives, whatever an answer contains."""

_HEADERS: Final = {
    # A page speaks with the server that it came from: a browser asks whether it has changed, which takes a round trip.
    "cache-control": "no-cache",
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_FILES: Final = {
    "": ("index.html", "text/html; charset=utf-8"),
    "console.js": ("console.js", "text/javascript; charset=utf-8"),
    "console.css": ("console.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "licenses.txt": ("licenses.txt", "text/plain; charset=utf-8"),
}
"""The paths, the files that they give, and their types."""


def part(paths: Sequence[str]) -> Part:
    """The page under each of these paths, with its files beside it.

    The page calls the services of the contract over the Connect protocol in the folder that it was loaded from: loaded
    from ``https://example.com/base/`` it calls ``https://example.com/base/contextprotocol.v1.ChatService/StreamChat``.
    """

    def routes(prefix: str) -> Sequence[BaseRoute]:
        files = {path: _File.read(_FOLDER / name, media_type) for path, (name, media_type) in _FILES.items()}
        found = [Route(f"{prefix}/{path}", file.get) for path, file in files.items()]
        return [*found, Route(prefix, _into_the_folder)] if prefix else found

    return Part(paths, routes, _problem, _is_of_a_person)


def _is_of_a_person(scope: Scope) -> bool:
    """Whether a browser asks for a page, and not a program for a service under the same path."""
    return scope["method"] in ("GET", "HEAD")


async def _into_the_folder(request: Request) -> Response:
    return RedirectResponse(f"{request.url.path.rpartition('/')[2]}/", 308)


async def _problem(exchange: Exchange, error: MCPError | OtherStatus) -> None:
    assert isinstance(error, HTTPProblem)  # files are not carried out in the middleware, which has others
    text = "there is no such file" if error.status == 404 else error.message
    await exchange.answer(error.status, {"content-type": "text/plain", **error.headers}, f"{text}\n".encode())


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file, which is small and is kept in memory."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str

    @classmethod
    def read(cls, path: Path, media_type: str) -> _File:
        content = path.read_bytes()
        return cls(
            content=content,
            compressed=gzip.compress(content, mtime=0),
            media_type=media_type,
            digest=hashlib.sha256(content).hexdigest()[:32],
        )

    async def get(self, request: Request) -> Response:
        compressed = "gzip" in request.headers.get("accept-encoding", "")
        etag = f'"{self.digest}{"-gzip" if compressed else ""}"'
        headers = {**_HEADERS, "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["content-encoding"] = "gzip"
        content = self.compressed if compressed else self.content
        return Response(content, headers=headers, media_type=self.media_type)
