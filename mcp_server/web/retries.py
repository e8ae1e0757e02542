"""What an error says about the response: its status, and whether and when to send the request again."""

from __future__ import annotations

import math
from typing import Final

from mcp_server.errors import MCPError, QuotaExceeded, RetryAdvice
from mcp_server.pipeline import OtherStatus
from mcp_server.web.exchange import HTTPProblem

_SOON: Final = ("requests_per_minute", "tokens_per_minute", "concurrent_turns")
"""The limits that leave room again after a short while."""


def status_of(error: MCPError | OtherStatus) -> int:
    """The HTTP status of an error."""
    if isinstance(error, MCPError):
        return error.http_status
    return error.status if isinstance(error, HTTPProblem) else 500


def debug_of(error: MCPError | OtherStatus) -> str | None:
    """The exception behind an error, for callers in development mode; ``None``: they do not see it."""
    return error.debug.text if isinstance(error, MCPError) and error.debug is not None else None


def used_up(error: MCPError | OtherStatus) -> bool:
    """Whether a limit is reached that leaves no room again soon."""
    return isinstance(error, QuotaExceeded) and error.metadata.get("limit") not in _SOON


def retry_headers(error: MCPError | OtherStatus, *, keyed: bool) -> dict[str, str]:
    """The headers of a response that is an error.

    Args:
        error: what went wrong.
        keyed: whether the request has an ``Idempotency-Key``: then it receives an error that is recorded again.
    """
    headers = dict(error.headers) if isinstance(error, HTTPProblem) else {}
    if status_of(error) == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MCPError):
        if error.retry_after is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after))
            headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
        headers["x-should-retry"] = "true" if _should_retry(error, keyed=keyed) else "false"
    return headers


def _should_retry(error: MCPError, *, keyed: bool) -> bool:
    """Whether the same request, with the same key if it has one, can succeed soon."""
    if error.final or error.retry is RetryAdvice.NO or used_up(error):
        return False
    return not keyed or error.retry is RetryAdvice.SAME_REQUEST
