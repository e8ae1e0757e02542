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
    │   ├── QuotaExceeded
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
    │   └── ProviderTimeout
    └── InternalError             the server failed

The class follows from the server's ``reason``. A reason that this version of the client does not know is mapped by its
status code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final


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


class MCPError(Exception):
    """The base class of all errors of a call."""

    _reason: ClassVar[str] = ""
    _codes: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, *, reason: str = "", codes: frozenset[str] = frozenset()) -> None:
        """Define an error class.

        Args:
            reason: the reason of the contract that the class stands for; empty: none.
            codes: the status codes that the class stands for when the reason is unknown.
        """
        super().__init_subclass__()
        cls._reason, cls._codes = reason, codes

    def __init__(self, message: str, details: Details) -> None:
        super().__init__(message, details)  # both, so that an error can be pickled
        self.message = message
        """What went wrong, where, and what to do."""
        self.details = details
        """The facts of the failure."""

    def __str__(self) -> str:
        return self.message

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
    def turn(self) -> str:
        """The full name of the turn that failed, or empty."""
        return self.details.metadata.get("turn", "")


class RequestError(
    MCPError,
    codes=frozenset(
        {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED", "OUT_OF_RANGE", "FAILED_PRECONDITION"}
    ),
):
    """The request cannot succeed as it is: change it."""


class InvalidArgument(RequestError, reason="INVALID_ARGUMENT"):
    """Fields of the request are invalid; ``violations`` lists all of them."""

    @property
    def violations(self) -> Mapping[str, str]:
        """The path of each invalid field, and what is wrong with it."""
        return self.details.violations


class ContextTooLong(RequestError, reason="CONTEXT_TOO_LONG"):
    """The prompt does not fit into the model's context window."""


class UnsupportedByModel(RequestError, reason="UNSUPPORTED_BY_MODEL"):
    """The model does not support what the request asks for."""


class ToolResultsMissing(RequestError, reason="TOOL_RESULTS_MISSING"):
    """The model waits for the results of its tool calls."""


class SessionNotFound(RequestError, reason="SESSION_NOT_FOUND"):
    """The session does not exist, or has expired."""


class TurnNotFound(RequestError, reason="TURN_NOT_FOUND"):
    """The turn does not exist, or is past the retention period."""


class ModelNotFound(RequestError, reason="MODEL_NOT_FOUND"):
    """No provider offers a model of this name."""


class SessionExists(RequestError, reason="SESSION_EXISTS"):
    """A session with this id already exists."""


class RequestIdReused(RequestError, reason="REQUEST_ID_REUSED"):
    """The ``request_id`` was already used for a different request."""


class SessionBusy(RequestError, reason="SESSION_BUSY"):
    """Another turn is running on the session."""


class EtagMismatch(RequestError, reason="ETAG_MISMATCH"):
    """The session has changed since it was read."""


class SequenceUnknown(RequestError, reason="SEQUENCE_UNKNOWN"):
    """The turn has no event with this sequence number."""


class TurnCancelled(RequestError, reason="TURN_CANCELLED"):
    """The turn was cancelled."""


class NotSupported(RequestError, reason="NOT_IMPLEMENTED", codes=frozenset({"UNIMPLEMENTED"})):
    """The server does not support a field or a method."""


class ToolRoundsExceeded(RequestError):
    """The model called tools in more rounds than allowed. Raised by the client, not by the server."""


class AccessError(MCPError):
    """The caller is not allowed to make the call: change the credentials."""


class BadCredentials(AccessError, reason="BAD_CREDENTIALS", codes=frozenset({"UNAUTHENTICATED"})):
    """The credentials are missing or invalid."""


class NotAllowed(AccessError, reason="NOT_ALLOWED", codes=frozenset({"PERMISSION_DENIED"})):
    """The credentials are valid and do not permit the call."""


class TryLater(MCPError, codes=frozenset({"RESOURCE_EXHAUSTED", "CANCELLED"})):
    """The same request may succeed later."""


class QuotaExceeded(TryLater, reason="QUOTA_EXCEEDED"):
    """A quota is exhausted."""


class Overloaded(TryLater, reason="OVERLOADED"):
    """The server has reached its limit of concurrent work."""


class Draining(TryLater, reason="DRAINING"):
    """The server is shutting down."""


class TurnInterrupted(TryLater, reason="TURN_INTERRUPTED"):
    """The server process that ran the turn died."""


class TurnTimeout(TryLater, reason="TURN_TIMEOUT"):
    """The turn took longer than its timeout."""


class StoreUnavailable(TryLater, reason="STORE_UNAVAILABLE"):
    """The server cannot reach its store."""


class ServerUnavailable(TryLater, codes=frozenset({"UNAVAILABLE"})):
    """No server answered, or the connection was lost."""


class DeadlineExceeded(TryLater, codes=frozenset({"DEADLINE_EXCEEDED"})):
    """The caller's own deadline passed."""


class ProviderError(MCPError):
    """A model provider failed."""


class ProviderRejected(ProviderError, reason="PROVIDER_REJECTED"):
    """The provider rejected the content of the request, or the server's credentials."""


class ProviderUnavailable(ProviderError, reason="PROVIDER_UNAVAILABLE"):
    """The provider cannot be reached, cannot load the model, or failed."""


class ProviderRateLimited(ProviderError, reason="PROVIDER_RATE_LIMITED"):
    """The provider's rate limit is exceeded."""


class ProviderStreamCut(ProviderError, reason="PROVIDER_STREAM_CUT"):
    """The provider's stream ended before the answer was complete."""


class ProviderTimeout(ProviderError, reason="PROVIDER_TIMEOUT"):
    """The provider did not answer in time."""


class InternalError(MCPError, reason="INTERNAL"):
    """The server failed; its log has the details under ``metadata["error_id"]``."""


def _classes(root: type[MCPError]) -> Iterator[type[MCPError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


BY_REASON: Final[Mapping[str, type[MCPError]]] = {kind._reason: kind for kind in _classes(MCPError) if kind._reason}
"""The class of each reason of the contract."""
BY_CODE: Final[Mapping[str, type[MCPError]]] = {code: kind for kind in _classes(MCPError) for code in kind._codes}
"""The class of each status code, for errors whose reason is unknown."""
