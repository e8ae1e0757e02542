"""The standard health service, with ``List``: the server (``""``), each service by its full name, ``providers/NAME``.

A provider is SERVING as long as one of its models is READY. The health of providers requires the scope ``models``; that
of the server and its services is open to everyone, for load balancers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from mcp_server.api.call import Send
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.principal import Principal
from mcp_server.rpc.status import PlainStatus

WATCH_INTERVAL = 1.0
"""Seconds between two checks of a provider that somebody watches."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
PROVIDERS = "providers/"


class Health:
    """``grpc.health.v1.Health``.

    Args:
        services: the full names of the services.
        gateway: knows which providers are ready.
    """

    def __init__(self, services: Iterable[str], gateway: Gateway) -> None:
        self._services = frozenset(("", *services))
        self._gateway = gateway
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Whether the server takes calls."""
        self._serving = serving
        self._notify()

    def close(self) -> None:
        """End all watches: an open one would hold up the server's stop."""
        self._serving, self._closed = False, True
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, call: Call, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        status = await self._status(call.principal, request.service)
        if status == _UNKNOWN:
            raise PlainStatus(
                grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}: List names all services"
            )
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, call: Call, request: health_pb2.HealthListRequest) -> health_pb2.HealthListResponse:
        names = [*self._services, *(f"{PROVIDERS}{name}" for name in self._gateway.provider_names(call.principal))]
        # Side by side: providers that hang are waited for once, not one after the other.
        found = await asyncio.gather(*[self._status(call.principal, name) for name in names])
        statuses: Mapping[str, health_pb2.HealthCheckResponse] = {
            name: health_pb2.HealthCheckResponse(status=status) for name, status in zip(names, found, strict=True)
        }
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, call: Call, request: health_pb2.HealthCheckRequest, send: Send) -> None:
        # Changes of the server's own state are announced; a provider has to be polled.
        interval = WATCH_INTERVAL if request.service.startswith(PROVIDERS) else None
        last: Any = None
        while True:
            changed, closed = self._changed, self._closed
            status = await self._status(call.principal, request.service)
            if status != last:
                await send(health_pb2.HealthCheckResponse(status=status))
                last = status
            if closed:
                return
            try:
                async with asyncio.timeout(interval):
                    await changed.wait()
            except TimeoutError:
                continue

    async def _status(self, principal: Principal, name: str) -> Any:
        if name in self._services:
            return _SERVING if self._serving else _NOT_SERVING
        if name.startswith(PROVIDERS):
            principal.require("models", f"the health of {PROVIDERS}…")
        provider = name.removeprefix(PROVIDERS)
        if not name.startswith(PROVIDERS) or provider not in self._gateway.provider_names(principal):
            return _UNKNOWN
        ready = self._serving and await self._gateway.provider_ready(principal, provider)
        return _SERVING if ready else _NOT_SERVING
