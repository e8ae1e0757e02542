"""What is refused before any call: requests that a foreign page makes a browser send."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.settings import CORSSettings, is_loopback

OPEN_PATHS = ("/healthz", "/readyz")
"""The pages that load balancers call under the address of the machine."""

_PORT: Final = re.compile(r":\d*$")


def origin_pattern(origins: Iterable[str]) -> re.Pattern[str]:
    """Matches the origins, in which ``*`` stands for any subdomains, or for any port."""
    patterns = [
        ".*" if origin == "*" else re.escape(origin).replace(r"\*\.", r"([A-Za-z0-9-]+\.)+").replace(r":\*", r"(:\d+)?")
        for origin in origins
    ]
    return re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)


class Guards:
    """Refuses requests under host names that are not the server's, and those of pages that may not call it.

    Args:
        app: what requests reach that are not refused.
        cors: which pages may call it.
        allowed_hosts: its names.
        authenticated: whether callers need credentials: then, without ``allowed_hosts``, it has any name.
    """

    def __init__(self, app: ASGIApp, *, cors: CORSSettings, allowed_hosts: Sequence[str], authenticated: bool) -> None:
        self._app = app
        self._origins = origin_pattern(cors.origins)
        self._any_host = "*" in allowed_hosts or (authenticated and not allowed_hosts)
        self._hosts = [host.lower() for host in allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Request(scope))):
            await PlainTextResponse(f"{refusal}\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> str:
        host = request.headers.get("host", "")
        if not self._is_ours(host) and not request.url.path.endswith(OPEN_PATHS):
            return (
                f"this server is not called {host[:255]!r}: use its address on this machine, "
                "or name it in web.allowed_hosts"
            )
        origin = request.headers.get("origin")
        same = host and origin is not None and origin.partition("://")[2].lower() == host.lower()
        if origin is None or same or self._origins.fullmatch(origin):
            return ""
        return f"pages of {origin[:255]!r} may not call this server: the setting web.cors.origins names those that may"

    def _is_ours(self, host: str) -> bool:
        if self._any_host:
            return True
        name = _PORT.sub("", host).lower()
        if is_loopback(name.strip("[]")):
            return True
        return any(
            name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern for pattern in self._hosts
        )
