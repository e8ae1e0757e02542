"""The client's methods for the health of a server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from grpc_health.v1 import health_pb2

from mcp_client._aio.calls import AsyncCalls
from mcp_client._core import defaults
from mcp_client._core.arguments import seconds
from mcp_client._core.requests.models import health_check
from mcp_client._core.responses.models import AsyncStatuses, health
from mcp_client.errors import DeadlineExceeded, ServerUnavailable
from mcp_client.values import HealthStatus, Seconds


class HealthMethods:
    """Check and watch the health of a server."""

    _calls: AsyncCalls

    async def health(self, service: str = "", *, timeout: Seconds | None = None) -> HealthStatus:
        """Check whether the server (``""``), a service by its full name, or ``providers/NAME`` accepts calls.

        Raises:
            RequestError: the server has no service of this name.
            ServerUnavailable: no server answers.
        """
        response = await self._calls.unary("Health.Check", health_check(service), timeout)
        return health(response)

    async def list_health(self, *, timeout: Seconds | None = None) -> Mapping[str, HealthStatus]:
        """Check all services of the server, by name."""
        response = await self._calls.unary("Health.List", health_pb2.HealthListRequest(), timeout)
        return {name: health(item) for name, item in response.statuses.items()}

    async def watch_health(self, service: str = "", *, timeout: Seconds | None = None) -> AsyncStatuses:
        """Iterate over the health of a service: the current status, then every change.

        The status is ``UNKNOWN`` while no server answers, and for a service that the server does not know.

        Args:
            service: as in :meth:`health`.
            timeout: how long to watch, in seconds; ``None``: without limit.

        Raises:
            DeadlineExceeded: ``timeout`` seconds have passed.
        """
        request = health_check(service)
        attempts = self._calls.attempts("Health.Watch", None if timeout is None else seconds("timeout", timeout), 0)
        last: HealthStatus | None = None
        failure: ServerUnavailable | None = None
        while True:
            watch = await self._calls.stream("Health.Watch", request, attempts)
            try:
                async for response in watch:
                    attempts.succeeded()
                    if (status := health(response)) is not last:
                        yield (last := status)
            except ServerUnavailable as error:
                if error.code == "CANCELLED":  # the client was closed
                    raise
                failure = error
            except DeadlineExceeded as error:
                raise error from failure
            finally:
                watch.cancel()
            if last is not HealthStatus.UNKNOWN:
                yield (last := HealthStatus.UNKNOWN)
            await self._calls.pause(defaults.HEALTH_PAUSE)

    async def wait_until_ready(self, timeout: Seconds = defaults.TIMEOUT) -> None:
        """Wait until the server accepts calls, including the time in which it cannot be reached.

        Raises:
            DeadlineExceeded: the server was not ready within ``timeout`` seconds.
        """
        limit = seconds("timeout", timeout)
        try:
            async with aclosing(self.watch_health(timeout=limit)) as statuses:
                async for status in statuses:
                    if status is HealthStatus.SERVING:
                        return
        except DeadlineExceeded as error:
            message = f"the server at {self._calls.address} was not ready within {limit:g} s"
            if isinstance(error.__cause__, ServerUnavailable):
                message += f": {error.__cause__}"
            raise DeadlineExceeded(message, error.details) from error
