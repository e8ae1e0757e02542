"""The headers of responses: how long the server took, and what is left of the caller's limits."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from mcp_server.gateway import Gateway
from mcp_server.principal import Principal
from mcp_server.values import SECOND, LimitState
from mcp_server.web.rates import rates


class Timed:
    """Makes the headers of one response.

    Args:
        gateway: knows the limits.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._begin = asyncio.get_running_loop().time()

    async def headers(self, principal: Principal) -> dict[str, str]:
        """``openai-processing-ms``, and ``x-ratelimit-…`` for a caller with limits per minute."""
        headers = rate_headers(await rates(self._gateway, principal))
        elapsed = asyncio.get_running_loop().time() - self._begin
        return {"openai-processing-ms": str(round(elapsed * 1000)), **headers}


def rate_headers(states: Mapping[str, LimitState]) -> dict[str, str]:
    """What is left of the limits per minute, by their units."""
    headers: dict[str, str] = {}
    now = time.time_ns()
    for unit, state in states.items():
        left = 0 if state.reset_time is None else max(state.reset_time - now, 0)
        headers |= {
            f"x-ratelimit-limit-{unit}": str(state.allowed),
            f"x-ratelimit-remaining-{unit}": str(state.remaining),
            f"x-ratelimit-reset-{unit}": _duration(left),
        }
    return headers


def _duration(nanoseconds: int) -> str:
    """A duration as this API writes it: ``120ms``, ``1.5s``, ``6m0s``."""
    milliseconds = math.ceil(nanoseconds * 1000 / SECOND)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{seconds}" if minutes else seconds
