"""The HTTP endpoint from which Prometheus reads the metrics."""

from __future__ import annotations

import contextlib
import socket
import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from mcp_server.errors import ConfigError


class MetricsEndpoint:
    """Serves metrics over HTTP, on a thread of its own.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, registry: CollectorRegistry, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
        except OSError as error:
            raise ConfigError(
                f"metrics.address: cannot listen on {address}: {error.strerror}; "
                'choose another, port 0 for any, or "" for no metrics'
            ) from error
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
