"""Errors as HTTP responses: their status, and what visitors may read about them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from mcp_client import (
    AccessError,
    ContextTooLong,
    DeadlineExceeded,
    EtagMismatch,
    InternalError,
    InvalidArgument,
    MCPError,
    ModelNotFound,
    NotSupported,
    ProviderError,
    ProviderRateLimited,
    ProviderTimeout,
    QuotaExceeded,
    RequestError,
    RequestIdReused,
    SequenceUnknown,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    ToolResultsMissing,
    ToolRoundsExceeded,
    TryLater,
    TurnCancelled,
    TurnNotFound,
    TurnTimeout,
    UnsupportedByModel,
)

STATUS: Final[Mapping[type[MCPError], HTTPStatus]] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    ContextTooLong: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedByModel: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestIdReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    ToolResultsMissing: HTTPStatus.CONFLICT,
    SessionNotFound: HTTPStatus.NOT_FOUND,
    TurnNotFound: HTTPStatus.NOT_FOUND,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    SessionExists: HTTPStatus.CONFLICT,
    SessionBusy: HTTPStatus.CONFLICT,
    TurnCancelled: HTTPStatus.CONFLICT,
    EtagMismatch: HTTPStatus.PRECONDITION_FAILED,
    NotSupported: HTTPStatus.NOT_IMPLEMENTED,
    ToolRoundsExceeded: HTTPStatus.BAD_GATEWAY,
    AccessError: HTTPStatus.INTERNAL_SERVER_ERROR,  # the application's credentials are wrong, not the visitor's
    TryLater: HTTPStatus.SERVICE_UNAVAILABLE,
    QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    TurnTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    ProviderError: HTTPStatus.BAD_GATEWAY,
    ProviderRateLimited: HTTPStatus.SERVICE_UNAVAILABLE,
    ProviderTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
    MCPError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The HTTP status of each error class; a class that is not listed has that of its parent."""

_PUBLIC: Final[Mapping[type[MCPError], str]] = {
    RequestError: "The request was refused.",
    InvalidArgument: "The message was refused.",
    ContextTooLong: "The conversation is too long for the model.",
    UnsupportedByModel: "The model does not support this.",
    ToolResultsMissing: "The conversation waits for the results of tools.",
    SessionNotFound: "The conversation was not found.",
    TurnNotFound: "The turn was not found.",
    ModelNotFound: "The model was not found.",
    SessionExists: "The conversation exists already.",
    RequestIdReused: "request_id: it was used for another message.",
    SessionBusy: "Another message is being answered.",
    EtagMismatch: "The conversation has changed.",
    SequenceUnknown: "Last-Event-ID: the turn has no such event.",
    TurnCancelled: "The answer was cancelled.",
    NotSupported: "The service does not support this.",
    ToolRoundsExceeded: "The model could not answer.",
    QuotaExceeded: "The quota is used up. Try again later.",
    TryLater: "The service is temporarily unavailable. Try again.",
    ProviderError: "The model could not answer.",
    MCPError: "The service failed.",
}
"""What visitors read about each error class. The messages name sessions, addresses and models, and may quote a
provider: they are only logged."""
_CAUSED_BY_VISITORS: Final = (
    ContextTooLong,
    SessionNotFound,
    TurnNotFound,
    RequestIdReused,
    SessionBusy,
    SequenceUnknown,
    TurnCancelled,
)
"""The errors that are no fault of the application or the service, and are not logged."""

_log: Final = logging.getLogger("mcp_client.integrations")


class RequestRefused(Exception):
    """A request that is refused before the server is called.

    Args:
        status: of the response.
        detail: what is wrong, and what is allowed.
    """

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def problem(error: MCPError | RequestRefused) -> dict[str, Any]:
    """An error as a problem in the sense of RFC 9457. Details that visitors may not read are logged."""
    if isinstance(error, RequestRefused):
        return {"title": error.status.phrase, "status": error.status, "detail": error.detail}
    status = _by_class(STATUS, error)
    if not isinstance(error, _CAUSED_BY_VISITORS):
        _log.warning("%s: %s", type(error).__name__, error)
    result: dict[str, Any] = {"title": status.phrase, "status": status, "detail": _by_class(_PUBLIC, error)}
    if error.reason:
        result["reason"] = error.reason
    if error.turn:
        result["turn"] = turn_id(error.turn)
    if error.retry_after is not None:
        result["retry_after"] = error.retry_after
    return result


def turn_id(turn: str) -> str:
    """The last segment of a turn's full name, by which pages refer to it."""
    return turn.rpartition("/")[2]


def _by_class(table: Mapping[type[MCPError], Any], error: MCPError) -> Any:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
