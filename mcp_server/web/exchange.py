"""One HTTP request and its response, within the limits that all edges share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from mcp_server.flow import SMALL, Transfer
from mcp_server.pipeline import CallerLeft, OtherStatus

ABORT: Final = "contextprotocol.abort"
"""An extension of ASGI: ``scope["extensions"][ABORT]["abort"]()`` breaks the connection."""


class HTTPProblem(OtherStatus):
    """Ends a request that HTTP itself refuses: 404, 405, 413, 415 …

    Args:
        status: the HTTP status.
        code: the nearest gRPC code, by name.
        message: what is wrong, and what to do.
        headers: further headers of the response.
        param: the parameter of the request that is wrong, if it is one.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, *, param: str = ""
    ) -> None:
        super().__init__(code, message)
        self.param = param
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


class Exchange:
    """Reads the request and writes the response. The call ends when its caller leaves.

    Args:
        scope, receive, send: of ASGI.
        transfer: counts what the call holds.
        max_body_bytes: the largest body.
    """

    __slots__ = (
        "_max_body_bytes",
        "_receive",
        "_send",
        "_task",
        "_transfer",
        "_watch",
        "id",
        "left",
        "request",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, transfer: Transfer, max_body_bytes: int) -> None:
        self.request = Request(scope)
        """The request, without its body."""
        self.id = f"req_{secrets.token_hex(12)}"
        """Identifies the request: ``x-request-id`` of the response."""
        self.started = False
        """Whether the response has begun: its status is sent."""
        self.left = False
        """Whether the caller has left before the end of the response."""
        self._receive = receive
        self._send = send
        self._transfer = transfer
        self._max_body_bytes = max_body_bytes
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    # -- the request --------------------------------------------------------------------------------------------------

    @property
    def media_type(self) -> str:
        """The media type of the body, in lower case and without parameters; empty if the request names none."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()

    def require_content_type(self, *types: str) -> str:
        """The media type of the body, one of ``types``: pages of other origins cannot send these without being asked.

        Raises:
            HTTPProblem: it is another, or missing.
        """
        found = self.media_type
        if found not in types:
            raise HTTPProblem(
                415,
                "INVALID_ARGUMENT",
                f"the header content-type is {found or 'missing'}; expected {' or '.join(types)}",
                {"accept-post": ", ".join(types)},
            )
        return found

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            HTTPProblem: it is larger than the limit.
            Overloaded: there is no room for it now, or it arrives too slowly.
        """
        size = self.request.headers.get("content-length", "")
        if size.isdecimal() and int(size) > self._max_body_bytes:
            raise self._too_large()
        body = await self._transfer.receive(self._read)
        self._watch = asyncio.create_task(self._watch_caller(), name="caller")
        return body

    def hold(self, size: int) -> None:
        """Count what a compressed body has become.

        Raises:
            Overloaded: there is no room for it.
        """
        self._transfer.hold(size)

    async def _read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerLeft
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._max_body_bytes:
                raise self._too_large()
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> HTTPProblem:
        return HTTPProblem(
            413,
            "INVALID_ARGUMENT",
            f"the body is larger than {self._max_body_bytes} bytes, the largest that this server accepts",
            {"connection": "close"},  # the rest of the body is not read
        )

    async def _watch_caller(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        assert self._task is not None
        self._task.cancel()

    # -- the response -------------------------------------------------------------------------------------------------

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the response."""
        self.started = True
        raw = [(b"x-request-id", self.id.encode())]
        raw += [(key.encode("latin-1"), value.encode("latin-1", "replace")) for key, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; return when there is room for the next one.

        Raises:
            Overloaded: the caller reads nothing, or the piece is large and there is no room for it.
        """
        await self._transfer.send(self._write, data)

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        if len(data) > SMALL:
            # Servers wait before a piece for room, not behind it: without a further one it would not be counted.
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def finish(self) -> None:
        """End the response.

        Raises:
            Overloaded: the caller reads nothing.
        """
        self._stop_watching()
        await self._transfer.send(self._finish, b"")

    async def _finish(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a whole response.

        Raises:
            Overloaded: there is no room for it, and nothing was sent; or the caller reads nothing.
        """

        async def write(data: bytes) -> None:
            await self.start(status, {**headers, "content-length": str(len(data))})
            if data and self.request.method != "HEAD":
                await self._write(data)

        await self._transfer.send(write, body)
        await self.finish()

    @property
    def unread(self) -> bool:
        """Whether the caller has read nothing for so long that nothing more can be sent."""
        return self._transfer.unread

    async def abort(self) -> None:
        """Break the connection, where the server can: what its caller does not read would be kept with it."""
        self._stop_watching()
        abort = self.request.scope.get("extensions", {}).get(ABORT)
        if abort is not None:
            abort["abort"]()
            while (await self._receive())["type"] != "http.disconnect":
                pass

    def close(self) -> None:
        """The call has ended."""
        self._stop_watching()
        self._transfer.close()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def received_headers(scope: Scope) -> list[tuple[str, str]]:
    """The headers of a request as text, their names in lower case."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return [(key.decode("latin-1"), value.decode("latin-1")) for key, value in headers]


def peer_of(scope: Scope) -> str:
    """Where a request comes from, as gRPC writes it."""
    client: tuple[str, int] | None = scope.get("client")
    if client is None:
        return "unknown"
    host, port = client
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"


def json_headers(extra: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The headers of a response in JSON."""
    return {"content-type": "application/json", "cache-control": "no-store", **(extra or {})}
