"""Errors in the form of Anthropic's API."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.errors import ContextTooLong, MCPError, Overloaded
from mcp_server.pipeline import OtherStatus
from mcp_server.web import retries
from mcp_server.web.anthropic.headers import rate_headers
from mcp_server.web.exchange import Exchange, json_headers
from mcp_server.web.parameters import request_id
from mcp_server.web.rates import rates_of

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By HTTP status. Other errors of the caller are ``invalid_request_error``; those of the server, ``api_error``."""


def status_of(error: MCPError | OtherStatus) -> int:
    """The HTTP status of an error. This API has one of its own for an overloaded server."""
    return 529 if isinstance(error, Overloaded) else retries.status_of(error)


def error_object(error: MCPError | OtherStatus, request: str) -> dict[str, Any]:
    """The body of an error.

    Args:
        error: what went wrong.
        request: the id of the request.
    """
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    reason = error.reason if isinstance(error, MCPError) else error.code
    details = {"error_code": reason.lower()}
    if (debug := retries.debug_of(error)) is not None:
        details["debug"] = debug
    return {
        "type": "error",
        "error": {"type": kind, "message": _message(error), "details": details},
        "request_id": request,
    }


def _message(error: MCPError | OtherStatus) -> str:
    if isinstance(error, ContextTooLong) and {"tokens", "limit"} <= error.metadata.keys():
        # Clients recognize these words, and shorten the conversation.
        return f"prompt is too long: {error.metadata['tokens']} tokens > {error.metadata['limit']} maximum; {error}"
    return str(error)


async def problem(exchange: Exchange, error: MCPError | OtherStatus) -> None:
    """Write an error: as the response, or as the last event of a stream."""
    body = msgspec.json.encode(error_object(error, exchange.id))
    if exchange.started:
        await exchange.write(b"event: error\ndata: " + body + b"\n\n")
        await exchange.finish()
        return
    headers = {"request-id": exchange.id, **rate_headers(rates_of(exchange))}
    headers |= retries.retry_headers(error, keyed=bool(request_id(exchange)))
    await exchange.answer(status_of(error), json_headers(headers), body)
