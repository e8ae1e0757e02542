"""The headers of requests and responses."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from mcp_server.errors import InvalidArgument, Violation
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Call
from mcp_server.rules import shown
from mcp_server.values import SECOND, LimitState
from mcp_server.web.exchange import Exchange
from mcp_server.web.rates import rates

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
VERSION: Final = "anthropic-version"
"""The header that requests of this API have."""
_FIRST_VERSION: Final = "2023-06-01"
"""Older versions have streams of another form. Newer ones only refuse more than this server does."""


def check_version(exchange: Exchange) -> None:
    """Refuse requests for an older version of the API, whose responses have another form.

    Raises:
        InvalidArgument: the header names one, or no version at all.
    """
    version = exchange.request.headers.get(VERSION, _FIRST_VERSION)
    if version < _FIRST_VERSION or not _DATE.fullmatch(version):
        description = f"must be {_FIRST_VERSION} or later, not {shown(version)}"
        raise InvalidArgument([Violation(field=VERSION, description=description)])


async def response_headers(gateway: Gateway, call: Call, exchange: Exchange) -> dict[str, str]:
    """``request-id``, and ``anthropic-ratelimit-…`` for a caller with limits per minute."""
    return {"request-id": exchange.id, **rate_headers(await rates(gateway, call.principal))}


def rate_headers(states: Mapping[str, LimitState]) -> dict[str, str]:
    """What is left of the limits per minute, by their units."""
    headers: dict[str, str] = {}
    now = time.time_ns()
    for unit, state in states.items():
        reset = -(-max(state.reset_time or now, now) // SECOND)
        headers |= {
            f"anthropic-ratelimit-{unit}-limit": str(state.allowed),
            f"anthropic-ratelimit-{unit}-remaining": str(state.remaining),
            f"anthropic-ratelimit-{unit}-reset": f"{datetime.fromtimestamp(reset, UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
    return headers
