"""What is left of a caller's limits per minute."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final

from mcp_server.errors import MCPError, QuotaExceeded
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.principal import Principal
from mcp_server.values import LimitState
from mcp_server.web.edge import Answer
from mcp_server.web.exchange import Exchange

_UNITS: Final = {"requests_per_minute": "requests", "tokens_per_minute": "tokens"}
_RATES: Final = "contextprotocol.rates"
"""Where the scope of a request has what is left of the limits of its caller."""


async def rates(gateway: Gateway, principal: Principal) -> Mapping[str, LimitState]:
    """The limits on ``requests`` and ``tokens`` per minute, of each the tightest; none for a caller without limits."""
    if gateway.accounts.quota(principal) is None:
        return {}
    states = sorted(await gateway.accounts.states(principal), key=lambda each: -each.remaining)
    return {_UNITS[state.limit]: state for state in states if state.limit in _UNITS}


def with_rates(gateway: Gateway, answer: Answer) -> Answer:
    """An operation whose caller learns its limits per minute also from the error that says that one is used up."""

    async def limited(call: Call, exchange: Exchange) -> None:
        try:
            await answer(call, exchange)
        except QuotaExceeded:
            with contextlib.suppress(MCPError):  # without them, the error says all that matters
                exchange.request.scope[_RATES] = await rates(gateway, call.principal)
            raise

    return limited


def rates_of(exchange: Exchange) -> Mapping[str, LimitState]:
    """What :func:`with_rates` has kept for the error."""
    kept: Mapping[str, LimitState] = exchange.request.scope.get(_RATES, {})
    return kept
