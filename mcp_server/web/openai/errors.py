"""Errors in the form of OpenAI's API."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from mcp_server.errors import InvalidArgument, MCPError, RetryAdvice
from mcp_server.pipeline import OtherStatus
from mcp_server.web.exchange import Exchange, HTTPProblem, json_headers

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""By HTTP status. Other errors of the caller are ``invalid_request_error``; those of the server, ``server_error``."""


def status_of(error: MCPError | OtherStatus) -> int:
    """The HTTP status of an error."""
    if isinstance(error, MCPError):
        return error.http_status
    return error.status if isinstance(error, HTTPProblem) else 500


def error_object(error: MCPError | OtherStatus) -> dict[str, Any]:
    """The object ``error``."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = error.violations[0].field or None if isinstance(error, InvalidArgument) and error.violations else None
    reason = error.reason if isinstance(error, MCPError) else error.code
    return {"message": str(error), "type": kind, "param": param, "code": reason.lower()}


def error_headers(error: MCPError | OtherStatus) -> dict[str, str]:
    """The headers that say whether and when to send the request again."""
    headers = dict(error.headers) if isinstance(error, HTTPProblem) else {}
    if isinstance(error, MCPError):
        if error.retry_after is not None:
            headers["retry-after"] = str(math.ceil(error.retry_after))
            headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
        headers["x-should-retry"] = "true" if error.retry is RetryAdvice.SAME_REQUEST and not error.final else "false"
    return headers


async def problem(exchange: Exchange, error: MCPError | OtherStatus) -> None:
    """Write an error: as the response, or as the last event of a stream."""
    body = msgspec.json.encode({"error": error_object(error)})
    if exchange.started:
        await exchange.write(b"data: " + body + b"\n\n")
        await exchange.finish()
        return
    await exchange.answer(status_of(error), json_headers(error_headers(error)), body)
