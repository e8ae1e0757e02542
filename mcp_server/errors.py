"""Every error that the server raises, by who must act.

::

    MCPError
    ├── RequestError              the caller changes the request
    │   ├── InvalidArgument
    │   ├── ContextTooLong
    │   ├── UnsupportedByModel
    │   ├── ToolResultsMissing
    │   ├── SessionNotFound
    │   ├── TurnNotFound
    │   ├── ModelNotFound
    │   ├── SessionExists
    │   ├── RequestIdReused
    │   ├── SessionBusy
    │   ├── EtagMismatch
    │   ├── SequenceUnknown
    │   ├── TurnCancelled
    │   └── NotSupported
    ├── AccessError               the caller changes who they are
    │   ├── BadCredentials
    │   └── NotAllowed
    ├── TryLater                  the caller sends the same again, later
    │   ├── QuotaExceeded
    │   ├── Overloaded
    │   ├── Draining
    │   ├── TurnInterrupted
    │   ├── TurnTimeout
    │   └── StoreUnavailable
    ├── ProviderError             a provider failed
    │   ├── ProviderRejected
    │   ├── ProviderUnavailable
    │   ├── ProviderRateLimited
    │   ├── ProviderStreamCut
    │   └── ProviderTimeout
    └── InternalError             we failed

Each leaf has one ``reason``: the name of a value of ``contextprotocol.v1.ErrorReason`` without its prefix.
Messages say what was wrong, where, and what to do. They never show internals, prompts or keys. An edge turns
the reason into its own status by one table; nothing here knows of gRPC or HTTP.

:class:`ConfigError` stands apart: it stops the start and never reaches a caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One bad field of a request."""

    field: str
    """Where: the path of the field as the caller wrote it, for example ``messages[2].parts[0].text``."""
    description: str
    """What was found there and what is allowed."""


class MCPError(Exception):
    """The root: whatever a caller of this server can be told."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after: float | None = None
    ) -> None:
        """Args:
        message: what was wrong, where, and what to do.
        metadata: facts for programs, for example ``{"turn": "sessions/a/turns/b"}``.
        retry_after: seconds after which the same request may succeed; ``None`` if waiting alone does not help.
        """
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.final = False
        """Whether it is how a turn ended for good: the same request would get it again."""


class RequestError(MCPError):
    """The request itself cannot be carried out: the caller changes it."""


class InvalidArgument(RequestError):
    """Fields of the request are bad; all of them are named at once."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, violations: Sequence[Violation], message: str = "") -> None:
        self.violations = tuple(violations)
        super().__init__(message or "; ".join(f"{v.field}: {v.description}" for v in self.violations))


class ContextTooLong(RequestError):
    """What must be sent is more than the model can read."""

    reason = "CONTEXT_TOO_LONG"


class UnsupportedByModel(RequestError):
    """The model cannot do what was asked of it."""

    reason = "UNSUPPORTED_BY_MODEL"


class ToolResultsMissing(RequestError):
    """The history ends with tool calls, and the input does not begin with their results."""

    reason = "TOOL_RESULTS_MISSING"


class SessionNotFound(RequestError):
    """There is no such session, or it has expired, or it belongs to somebody else."""

    reason = "SESSION_NOT_FOUND"


class TurnNotFound(RequestError):
    """There is no such turn, or it was deleted, or it belongs to somebody else."""

    reason = "TURN_NOT_FOUND"


class ModelNotFound(RequestError):
    """No provider answers to that model name."""

    reason = "MODEL_NOT_FOUND"


class SessionExists(RequestError):
    """The chosen session id is taken."""

    reason = "SESSION_EXISTS"


class RequestIdReused(RequestError):
    """The ``request_id`` was used before, for another request."""

    reason = "REQUEST_ID_REUSED"


class SessionBusy(RequestError):
    """A turn runs on the session; the metadata names it."""

    reason = "SESSION_BUSY"


class EtagMismatch(RequestError):
    """The session has changed since the caller read it."""

    reason = "ETAG_MISMATCH"


class SequenceUnknown(RequestError):
    """``after_sequence`` lies beyond what was ever issued."""

    reason = "SEQUENCE_UNKNOWN"


class TurnCancelled(RequestError):
    """The turn was stopped before it ended."""

    reason = "TURN_CANCELLED"


class NotSupported(RequestError):
    """A field or method of the contract that this server does not honour; the metadata names it."""

    reason = "NOT_IMPLEMENTED"


class AccessError(MCPError):
    """The caller changes who they are."""


class BadCredentials(AccessError):
    """The credentials are missing or wrong."""

    reason = "BAD_CREDENTIALS"


class NotAllowed(AccessError):
    """The credentials are good and do not allow this."""

    reason = "NOT_ALLOWED"


class TryLater(MCPError):
    """The same request may succeed later."""


class QuotaExceeded(TryLater):
    """The caller has used up an allowance."""

    reason = "QUOTA_EXCEEDED"


class Overloaded(TryLater):
    """The server has more work than it takes on."""

    reason = "OVERLOADED"


class Draining(TryLater):
    """The server is about to stop."""

    reason = "DRAINING"


class TurnInterrupted(TryLater):
    """The process that ran the turn died."""

    reason = "TURN_INTERRUPTED"


class TurnTimeout(TryLater):
    """The turn's own ``timeout`` passed."""

    reason = "TURN_TIMEOUT"


class StoreUnavailable(TryLater):
    """The store could not read or write: a full disk, a lost file."""

    reason = "STORE_UNAVAILABLE"


class ProviderError(MCPError):
    """A provider failed, and no other could take over."""


class ProviderRejected(ProviderError):
    """The provider refuses; no retry helps. ``metadata["cause"]`` is ``credentials`` or ``content``."""

    reason = "PROVIDER_REJECTED"


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, cannot load, or answers with a failure of its own."""

    reason = "PROVIDER_UNAVAILABLE"


class ProviderRateLimited(ProviderError):
    """The provider asks for fewer calls."""

    reason = "PROVIDER_RATE_LIMITED"


class ProviderStreamCut(ProviderError):
    """The provider's answer ended without saying that it was complete."""

    reason = "PROVIDER_STREAM_CUT"


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    reason = "PROVIDER_TIMEOUT"


class InternalError(MCPError):
    """A fault of the server; the message holds an id to look up in its log, no more."""

    reason = "INTERNAL"


def recorded(reason: str, message: str, metadata: Mapping[str, str]) -> MCPError:
    """The error that was recorded by its reason; a reason that is not known any more is an :class:`InternalError`."""
    kinds: list[type[MCPError]] = [MCPError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # The leaves come last; the root has the reason of one of them.
    kind = next((kind for kind in reversed(kinds) if kind.reason == reason), InternalError)
    error = InvalidArgument((), message) if kind is InvalidArgument else kind(message)
    error.metadata.update(metadata)
    return error


class ConfigError(Exception):
    """The settings cannot be used; the message says file, key, what was found and what is allowed."""
