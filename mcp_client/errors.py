"""The errors that a client raises, grouped by who must act.

::

    MCPError
    ├── RequestError              change the request
    │   ├── InvalidArgument       .violations names the fields
    │   ├── ContextTooLong
    │   ├── UnsupportedByModel
    │   ├── ToolResultsMissing
    │   ├── SessionNotFound
    │   ├── TurnNotFound
    │   ├── ModelNotFound
    │   ├── KeyNotFound
    │   ├── SessionExists
    │   ├── RequestIdReused
    │   ├── SessionBusy           .turn is the running turn
    │   ├── EtagMismatch
    │   ├── SequenceUnknown
    │   ├── TurnCancelled
    │   ├── NotSupported
    │   └── ToolRoundsExceeded    the model does not stop calling tools
    ├── AccessError               change the credentials
    │   ├── BadCredentials
    │   └── NotAllowed
    ├── TryLater                  send the same request later; .retry_after says when
    │   ├── QuotaExceeded         .limit names what is used up
    │   ├── Overloaded
    │   ├── Draining
    │   ├── TurnInterrupted
    │   ├── TurnTimeout
    │   ├── StoreUnavailable
    │   ├── ServerUnavailable     no server answered
    │   └── DeadlineExceeded      your own deadline passed
    ├── ProviderError             a model provider failed
    │   ├── ProviderRejected
    │   ├── ProviderUnavailable
    │   ├── ProviderRateLimited
    │   ├── ProviderStreamCut
    │   ├── ProviderTimeout
    │   └── InvalidAnswer         the answer is not of the type that was asked for; .answer is its text
    └── InternalError             the server failed

The class follows from the server's ``reason``. A reason that this version of the client does not know is mapped by its
status code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The facts of a failure besides its message."""

    code: str
    """The gRPC status code, for example ``NOT_FOUND``."""
    reason: str = ""
    """The server's reason, for example ``SESSION_NOT_FOUND``; empty if the error was not raised by the server."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Machine-readable facts."""
    violations: Mapping[str, str] = field(default_factory=dict)
    """The path of each invalid field, and what is wrong with it."""
    retry_after: float | None = None
    """After how many seconds the same request may succeed."""
    final: bool = False
    """Whether the same request would fail again because its turn has ended with this error: retry with another
    ``request_id``."""
    debug: str = ""
    """The exception on the server and the end of its traceback, if the server is in development mode; else empty."""


class MCPError(Exception):
    """The base class of all errors of a call."""

    _reason: ClassVar[str] = ""
    _retryable: ClassVar[bool] = False

    def __init_subclass__(cls, *, reason: str = "", retryable: bool = False) -> None:
        """Define an error class.

        Args:
            reason: the reason of the contract that the class stands for; empty: none.
            retryable: whether sending the same request again can succeed.
        """
        super().__init_subclass__()
        cls._reason, cls._retryable = reason, retryable

    def __init__(self, message: str, details: Details) -> None:
        super().__init__(message, details)  # both, so that an error can be pickled
        self.message = message
        """What went wrong, where, and what to do."""
        self.details = details
        """The facts of the failure."""
        self.partial: Any = None
        """The :class:`Embeddings` of the texts that were embedded before the failure, if the call was
        :meth:`~MCPClient.embed`; ``None``: none were."""

    def __str__(self) -> str:
        return f"{self.message}\n{self.debug}" if self.debug else self.message

    @property
    def code(self) -> str:
        """The gRPC status code, for example ``NOT_FOUND``."""
        return self.details.code

    @property
    def reason(self) -> str:
        """The server's reason, for example ``SESSION_NOT_FOUND``; empty if the error was not raised by the server."""
        return self.details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Machine-readable facts."""
        return self.details.metadata

    @property
    def retry_after(self) -> float | None:
        """After how many seconds the same request may succeed; ``None`` if waiting alone does not help."""
        return self.details.retry_after

    @property
    def debug(self) -> str:
        """The exception on the server and the end of its traceback, if the server is in development mode; else
        empty."""
        return self.details.debug

    @property
    def turn(self) -> str:
        """The full name of the turn that failed, or empty."""
        return self.details.metadata.get("turn", "")


class RequestError(MCPError):
    """The request cannot succeed as it is: change it."""


class AccessError(MCPError):
    """The caller is not allowed to make the call: change the credentials."""


class TryLater(MCPError):
    """The same request may succeed later."""


class ProviderError(MCPError):
    """A model provider failed."""


class InvalidArgument(RequestError, reason="INVALID_ARGUMENT"):
    """Fields of the request are invalid; ``violations`` lists all of them."""

    @property
    def violations(self) -> Mapping[str, str]:
        """The path of each invalid field, and what is wrong with it."""
        return self.details.violations


class QuotaExceeded(TryLater, reason="QUOTA_EXCEEDED"):
    """A limit of the caller is used up; ``limit`` names it."""

    @property
    def limit(self) -> str:
        """The name of the limit, a field of :class:`~mcp_client.Limits`, or empty."""
        return limit_name(self.details.metadata.get("limit", ""))

    @property
    def subject(self) -> str:
        """Whom it binds: ``tenants/{tenant}`` or ``keys/{key}``; or empty."""
        return self.details.metadata.get("subject", "")


class ToolRoundsExceeded(RequestError):
    """The model called tools in more rounds than allowed. Raised by the client, not by the server."""


class InvalidAnswer(ProviderError):
    """The answer does not conform to the ``schema`` of the call. Raised by the client, not by the server."""

    @property
    def answer(self) -> str:
        """The text of the answer."""
        return self.details.metadata.get("answer", "")


class ServerUnavailable(TryLater, retryable=True):
    """No server answered, or the connection was lost."""


class DeadlineExceeded(TryLater):
    """The caller's own deadline passed."""


# Generated by scripts/generate from mcp_server/errors.py: begin


class ContextTooLong(RequestError, reason="CONTEXT_TOO_LONG"):
    """The prompt does not fit into the context window of the model."""


class UnsupportedByModel(RequestError, reason="UNSUPPORTED_BY_MODEL"):
    """The model does not support a feature that the request needs."""


class ToolResultsMissing(RequestError, reason="TOOL_RESULTS_MISSING"):
    """The history ends with tool calls, and the input does not begin with their results; or tool calls within the
    input are not followed by theirs."""


class SessionNotFound(RequestError, reason="SESSION_NOT_FOUND"):
    """The session does not exist, has expired, or belongs to another tenant."""


class TurnNotFound(RequestError, reason="TURN_NOT_FOUND"):
    """The turn does not exist, is past its retention period, or belongs to another tenant; or ``after_sequence``
    came with an unknown ``request_id``."""


class ModelNotFound(RequestError, reason="MODEL_NOT_FOUND"):
    """No provider has a model of that name."""


class KeyNotFound(RequestError, reason="KEY_NOT_FOUND"):
    """No API key has that name, or it belongs to another tenant."""


class SessionExists(RequestError, reason="SESSION_EXISTS"):
    """A session with the chosen id exists already."""


class RequestIdReused(RequestError, reason="REQUEST_ID_REUSED"):
    """The ``request_id`` was used before, for a different request."""


class SessionBusy(RequestError, reason="SESSION_BUSY"):
    """Another turn is running on the session."""


class EtagMismatch(RequestError, reason="ETAG_MISMATCH"):
    """The session has changed since the caller read its etag."""


class SequenceUnknown(RequestError, reason="SEQUENCE_UNKNOWN"):
    """``after_sequence`` is greater than any sequence number that was sent."""


class TurnCancelled(RequestError, reason="TURN_CANCELLED"):
    """The turn was cancelled before it ended."""


class NotSupported(RequestError, reason="NOT_IMPLEMENTED"):
    """The server does not implement a field or method of the contract."""


class BadCredentials(AccessError, reason="BAD_CREDENTIALS"):
    """The credentials are missing or wrong."""


class NotAllowed(AccessError, reason="NOT_ALLOWED"):
    """The credentials are valid and do not permit this."""


class Overloaded(TryLater, reason="OVERLOADED", retryable=True):
    """The server has more work than it accepts."""


class Draining(TryLater, reason="DRAINING", retryable=True):
    """The server is shutting down."""


class TurnInterrupted(TryLater, reason="TURN_INTERRUPTED", retryable=True):
    """The process that ran the turn died."""


class TurnTimeout(TryLater, reason="TURN_TIMEOUT"):
    """The ``timeout`` of the turn has passed."""


class StoreUnavailable(TryLater, reason="STORE_UNAVAILABLE", retryable=True):
    """The store cannot be read or written now, for example because its disk is full."""


class ProviderRejected(ProviderError, reason="PROVIDER_REJECTED"):
    """The provider refuses the content, or the credentials that the server sends."""


class ProviderUnavailable(ProviderError, reason="PROVIDER_UNAVAILABLE"):
    """The provider cannot be reached, cannot load the model, or answers with an error of its own."""


class ProviderRateLimited(ProviderError, reason="PROVIDER_RATE_LIMITED"):
    """The provider limits the rate of calls."""


class ProviderStreamCut(ProviderError, reason="PROVIDER_STREAM_CUT"):
    """The answer of the provider broke off before its end."""


class ProviderTimeout(ProviderError, reason="PROVIDER_TIMEOUT"):
    """The provider did not answer in time."""


class InternalError(MCPError, reason="INTERNAL"):
    """The server failed; the message contains an id to look up in its log, and nothing else."""


# Generated by scripts/generate: end


def limit_name(field: str) -> str:
    """The name in :class:`~mcp_client.Limits` of a limit of the contract, which counts costs in billionths."""
    return field.replace("cost_nanos_", "cost_")


def _classes(root: type[MCPError]) -> Iterator[type[MCPError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


BY_REASON: Final[Mapping[str, type[MCPError]]] = {kind._reason: kind for kind in _classes(MCPError) if kind._reason}
"""The class of each reason of the contract."""
BY_CODE: Final[Mapping[str, type[MCPError]]] = {
    "INVALID_ARGUMENT": RequestError,
    "NOT_FOUND": RequestError,
    "ALREADY_EXISTS": RequestError,
    "ABORTED": RequestError,
    "OUT_OF_RANGE": RequestError,
    "FAILED_PRECONDITION": RequestError,
    "UNIMPLEMENTED": NotSupported,
    "UNAUTHENTICATED": BadCredentials,
    "PERMISSION_DENIED": NotAllowed,
    "RESOURCE_EXHAUSTED": TryLater,
    "CANCELLED": TryLater,
    "UNAVAILABLE": ServerUnavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
"""The class of each status code, for errors whose reason is unknown."""
RETRYABLE: Final = tuple([kind for kind in _classes(MCPError) if kind._retryable])
"""Temporary failures, after which the client sends the same request again."""
