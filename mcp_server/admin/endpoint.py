"""An HTTP listener with a bounded number of threads of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from mcp_server.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

MAX_READERS: Final = 8
"""Requests that are answered at a time; further connections are closed at once."""
READ_SECONDS: Final = 5
"""How long a reader may send or take nothing."""


class HTTPEndpoint:
    """Serves a WSGI application over HTTP.

    Args:
        application: answers the requests, on several threads.
        address: ``host:port`` to listen on, port 0 for any.
        key: the dotted key of the address, for messages.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, application: WSGIApplication, address: str, *, key: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server(host.strip("[]"), int(port))
        except OSError as error:
            raise ConfigError(
                f"{key}: cannot listen on {address}: {error.strerror}; "
                'choose another, port 0 for any, or "" to turn it off'
            ) from error
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)
        self._thread.start()
        self.address = f"{host}:{self._server.server_port}"
        """The address that it listens on, with the actual port."""
        self.port = self._server.server_port
        """The port that it listens on."""

    def close(self) -> None:
        """Stop serving."""
        stopping = threading.Thread(target=self._server.shutdown)
        stopping.start()
        # The server checks twice a second whether it should stop, and at each connection.
        host, port = self._server.server_address[:2]
        with contextlib.suppress(OSError):
            socket.create_connection((str(host), port)).close()
        stopping.join()
        self._thread.join()
        self._server.server_close()


class _Handler(WSGIRequestHandler):
    """Answers one request, and logs nothing."""

    timeout = READ_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: readers come every few seconds."""


class _Server(WSGIServer):
    """Answers each request on one of a few threads."""

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self._free = threading.BoundedSemaphore(MAX_READERS)
        self._threads = ThreadPoolExecutor(MAX_READERS, thread_name_prefix="admin")
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the connection to a free thread, or close it."""
        if self._free.acquire(blocking=False):
            self._threads.submit(self._answer, request, client_address)
        else:
            self.shutdown_request(request)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:  # the reader has gone, or was silent for too long
            pass
        finally:
            self.shutdown_request(request)
            self._free.release()

    def server_close(self) -> None:
        """Close the port; what is being read ends by itself."""
        super().server_close()
        self._threads.shutdown(wait=False, cancel_futures=True)
