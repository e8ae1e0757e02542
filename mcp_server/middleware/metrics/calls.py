"""Metrics of calls, under the names that dashboards for gRPC know."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from mcp_server.errors import MCPError
from mcp_server.interfaces import Call
from mcp_server.middleware.metrics.admission import AdmissionMetrics
from mcp_server.middleware.metrics.families import Families
from mcp_server.middleware.metrics.server import ServerMetrics

_REFUSED_CALLERS: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_METHOD: Final = ("grpc_type", "grpc_service", "grpc_method")


class CallMetrics:
    """Counts calls: a :data:`~mcp_server.interfaces.Middleware`.

    Args:
        families: creates the metrics.
        server: counts the calls whose credentials do not permit them.
        admission: counts the calls whose error names a limit.
    """

    def __init__(self, families: Families, server: ServerMetrics, admission: AdmissionMetrics) -> None:
        self._server = server
        self._admission = admission
        self.started = families.counter("grpc_server_started", "Calls that have started.", *_METHOD)
        self.handled = families.counter(
            "grpc_server_handled", "Calls that have ended, by status code.", *_METHOD, "grpc_code"
        )
        self.in_flight = families.gauge("grpc_server_in_flight", "Calls that are running.", *_METHOD)
        self.seconds = families.histogram("grpc_server_handling_seconds", "The duration of calls.", *_METHOD)
        self._methods: dict[tuple[str, str, str], _Method] = {}

    def __call__(self, call: Call) -> _CountedCall:
        """Count one call."""
        key = (call.kind, call.service, call.method)
        method = self._methods.get(key)
        if method is None:
            method = self._methods[key] = _Method(self, key)
        return _CountedCall(call, method, self._server, self._admission)


class _Method:
    """The time series of one method."""

    __slots__ = ("_handled", "_key", "in_flight", "seconds", "started")

    def __init__(self, metrics: CallMetrics, key: tuple[str, str, str]) -> None:
        self._handled = metrics.handled
        self._key = key
        self.started = metrics.started.with_labels(*key)
        self.in_flight = metrics.in_flight.with_labels(*key)
        self.seconds = metrics.seconds.with_labels(*key)

    def ended(self, code: str) -> None:
        self._handled.with_labels(*self._key, code).value += 1
        self.in_flight.value -= 1


class _CountedCall:
    """Entered around one call."""

    __slots__ = ("_admission", "_begin", "_call", "_method", "_server")

    def __init__(self, call: Call, method: _Method, server: ServerMetrics, admission: AdmissionMetrics) -> None:
        self._call = call
        self._method = method
        self._server = server
        self._admission = admission
        self._begin = 0.0

    async def __aenter__(self) -> None:
        self._method.started.value += 1
        self._method.in_flight.value += 1
        self._begin = time.perf_counter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._method.ended(self._call.code)
        self._method.seconds.observe(time.perf_counter() - self._begin)
        if isinstance(error, MCPError):
            if error.code == "RESOURCE_EXHAUSTED" and "limit" in error.metadata:
                self._admission.refused(error.metadata["limit"])
            elif error.code in _REFUSED_CALLERS:
                self._server.caller_refused(error.reason)
