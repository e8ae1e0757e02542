"""The listener of the HTTP edge: uvicorn, in the event loop of the server."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_server.certificate_files import CertificateFiles
from mcp_server.errors import ConfigError
from mcp_server.settings import WebSettings, split_address
from mcp_server.web.exchange import ABORT

MAX_HEADER_BYTES: Final = 64 * 1024
"""The most bytes of the address and the headers of a request."""
BACKLOG: Final = 2048

_log: Final = logging.getLogger("contextprotocol.web")
_log.setLevel(logging.ERROR)  # uvicorn warns of every request that is not HTTP: strangers could fill the log


class WebServer:
    """Serves an application over HTTP/1.1, with TLS where there is a certificate.

    Args:
        application: answers the requests.
        settings: the limits.
        address: ``host:port``; port 0 for any.
        files: the certificate; ``None``: connections are not encrypted.
    """

    def __init__(
        self, application: ASGIApp, settings: WebSettings, address: str, files: CertificateFiles | None = None
    ) -> None:
        self._settings = settings
        self._address = address
        self._files = files
        self._tls = _tls(files) if files is not None else None
        config = uvicorn.Config(
            application,
            http=_connections(settings.header_timeout, settings.max_connections),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=int(settings.keep_alive),
            backlog=BACKLOG,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def expires(self) -> float:
        """When its certificate expires, in seconds since the Unix epoch; infinity without one."""
        return self._files.expires if self._files is not None else float("inf")

    async def start(self) -> tuple[str, str]:
        """Listen; return the address with the actual port, and the URL for a browser.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, port = split_address(self._address)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
            # With the protocol's name: else asyncio leaves Nagle's algorithm on, and answers wait 40 ms for an ACK.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            try:
                listener.bind((host, port))
                listener.listen(BACKLOG)
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise ConfigError(
                f"web.address: cannot listen on {self._address}: {error.strerror}; "
                'choose another, port 0 for any, or "" to turn it off'
            ) from error
        listener.setblocking(False)
        self._server.began = asyncio.Event()
        self._serving = asyncio.create_task(self._server.serve([listener]), name="web")
        await self._server.began.wait()
        written = f"[{host}]" if ":" in host else host
        address = f"{written}:{listener.getsockname()[1]}"
        return address, f"{'http' if self._tls is None else 'https'}://{address}{self._settings.base_path}/"

    def replace(self, files: CertificateFiles) -> bool:
        """Use another certificate from the next connection on; return whether it differs from the one in use."""
        if self._tls is None or files == self._files:
            return False
        self._files = files
        _load(self._tls, files)
        return True

    async def stop(self, grace: float) -> None:
        """Accept no more connections, let requests that run end for ``grace`` seconds, and close."""
        if self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(int(grace), 1)
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    """Leaves the signals to the process, and sets ``began`` once it listens."""

    began: asyncio.Event

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.began.set()


def _connections(header_timeout: float, max_connections: int) -> type[HttpToolsProtocol]:
    """A connection whose headers are bounded in time and in size, which uvicorn leaves open, and whose requests keep
    their bodies when they offer another protocol. Of more than ``max_connections`` the latest are refused.

    The rest of a request that is answered before its body has come is bounded in time too: nobody waits for it."""

    class Connection(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.logger = _log
            self._header_bytes = 0
            self._timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
            super().connection_made(transport)
            # uvicorn would refuse the requests on all connections, also on those that were there before.
            self.limit_concurrency = 0 if len(self.connections) > max_connections else None
            self._await()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._unset_keepalive_if_required()
            self._header_bytes = 0
            if self._timer is None:
                self._await()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def data_received(self, data: bytes) -> None:
            self._unset_keepalive_if_required()
            rest = memoryview(data)
            try:
                while True:
                    try:
                        self.parser.feed_data(rest)
                    except httptools.HttpParserUpgrade as offer:
                        rest = rest[offer.args[0] :]
                        self._decline_upgrade()
                    else:
                        return
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")

        def _decline_upgrade(self) -> None:
            """Read a request again without its offer to go on in another protocol, such as HTTP/2: after an offer the
            parser takes the body for that protocol."""
            head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
            head += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.parser.feed_data(b"\r\n".join(head) + b"\r\n\r\n")

        def on_headers_complete(self) -> None:
            if self._is_offer():
                return
            self._arrived()
            self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            if self._is_offer():
                return
            self._arrived()
            super().on_message_complete()
            if self.cycle.response_complete:  # the pieces of the body have stopped this timer
                self._unset_keepalive_if_required()
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # If the parser reads a later request already, this one has come whole.
            if self.cycle.response_complete and self.cycle.more_body and self._timer is None:
                self._await()

        def _is_offer(self) -> bool:
            """Whether the request is to be read again; CONNECT is refused for its address."""
            return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

        def _count(self, size: int) -> None:
            self._header_bytes += size
            if self._header_bytes > MAX_HEADER_BYTES:
                raise ValueError("the headers are too large")  # the parser turns it into a 400, and closes

        def _await(self) -> None:
            self._timer = self.loop.call_later(header_timeout, self._give_up)

        def _arrived(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            self.transport.close()

    return Connection


def _tls(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Load what has been checked, and not what the files hold by now: OpenSSL reads only files."""
    with tempfile.TemporaryDirectory() as folder:  # only its owner can read it
        path = Path(folder, "pem")
        path.touch(0o600)
        path.write_bytes(files.key + b"\n" + files.chain)
        context.load_cert_chain(path)
