"""What is left of a caller's limits per minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp_server.gateway import Gateway
from mcp_server.principal import Principal
from mcp_server.values import LimitState

_UNITS: Final = {"requests_per_minute": "requests", "tokens_per_minute": "tokens"}


async def rates(gateway: Gateway, principal: Principal) -> Mapping[str, LimitState]:
    """The limits on ``requests`` and ``tokens`` per minute, of each the tightest; none for a caller without limits."""
    if gateway.accounts.quota(principal) is None:
        return {}
    states = sorted(await gateway.accounts.states(principal), key=lambda each: -each.remaining)
    return {_UNITS[state.limit]: state for state in states if state.limit in _UNITS}
