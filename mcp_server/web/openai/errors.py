"""Errors in the form of OpenAI's API."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mcp_server.errors import (
    ContextTooLong,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    ToolResultsMissing,
)
from mcp_server.pipeline import OtherStatus
from mcp_server.web.exchange import Exchange, HTTPProblem, json_headers
from mcp_server.web.openai.headers import rate_headers
from mcp_server.web.parameters import request_id
from mcp_server.web.rates import rates_of
from mcp_server.web.retries import debug_of, retry_headers, status_of, used_up

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""By HTTP status. Other errors of the caller are ``invalid_request_error``; those of the server, ``server_error``."""
_CODES: Final = {
    "BAD_CREDENTIALS": "invalid_api_key",
    "CONTEXT_TOO_LONG": "context_length_exceeded",
    "OVERLOADED": "server_overloaded",
}
"""The codes that programs look for. Others are the reason, in lower case."""


def error_object(error: MCPError | OtherStatus, *, conversation: str = "messages") -> dict[str, Any]:
    """The object ``error``.

    Args:
        error: what went wrong.
        conversation: the parameter that has the conversation.
    """
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    found = {"message": str(error), "type": kind, "param": _param(error, conversation), "code": _code(error)}
    return found if (debug := debug_of(error)) is None else {**found, "debug": debug}


def _param(error: MCPError | OtherStatus, conversation: str) -> str | None:
    """The parameter that the error is about."""
    if isinstance(error, HTTPProblem):
        return error.param or None
    if isinstance(error, InvalidArgument) and error.violations:
        return error.violations[0].field or None
    if isinstance(error, ContextTooLong | ToolResultsMissing):
        return conversation
    return "model" if isinstance(error, ModelNotFound) else None


def _code(error: MCPError | OtherStatus) -> str:
    reason = error.reason if isinstance(error, MCPError) else error.code
    if isinstance(error, MCPError) and reason == "QUOTA_EXCEEDED":
        return "insufficient_quota" if used_up(error) else "rate_limit_exceeded"
    return _CODES.get(reason, reason.lower())


async def problem(exchange: Exchange, error: MCPError | OtherStatus, *, conversation: str = "messages") -> None:
    """Write an error: as the response, or as the last event of a stream."""
    body = msgspec.json.encode({"error": error_object(error, conversation=conversation)})
    if exchange.started:
        await exchange.write(b"data: " + body + b"\n\n")
        await exchange.finish()
        return
    headers = {**rate_headers(rates_of(exchange)), **retry_headers(error, keyed=bool(request_id(exchange)))}
    await exchange.answer(status_of(error), json_headers(headers), body)
