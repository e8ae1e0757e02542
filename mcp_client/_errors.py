"""Every error that a client raises, by who must act.

::

    MCPError
    ├── RequestError              change the request
    │   ├── InvalidArgument       .violations says which fields
    │   ├── ContextTooLong
    │   ├── UnsupportedByModel
    │   ├── ToolResultsMissing
    │   ├── SessionNotFound
    │   ├── TurnNotFound
    │   ├── ModelNotFound
    │   ├── SessionExists
    │   ├── RequestIdReused
    │   ├── SessionBusy           .turn says which turn runs
    │   ├── EtagMismatch
    │   ├── SequenceUnknown
    │   ├── TurnCancelled
    │   ├── NotSupported
    │   └── ToolRoundsExceeded    the model does not stop asking for tools
    ├── AccessError               change who you are
    │   ├── BadCredentials
    │   └── NotAllowed
    ├── TryLater                  send the same again, later; .retry_after says when
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

The class follows from the server's ``reason``; a reason that this client does not know goes by the status code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN: Final = "contextprotocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What is known of a failure besides its message."""

    code: str
    """The status code by gRPC's name, for example ``NOT_FOUND``."""
    reason: str = ""
    """The server's reason, for example ``SESSION_NOT_FOUND``; empty if the failure is not the server's."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Facts for programs."""
    violations: Mapping[str, str] = field(default_factory=dict)
    """The bad fields and what is wrong with each."""
    retry_after: float | None = None
    """Seconds after which the same request may succeed."""
    final: bool = False
    """The same request would end the same again: its turn has ended so. What helps then needs a new ``request_id``."""


class MCPError(Exception):
    """The root: whatever can go wrong with a call."""

    def __init__(self, message: str, details: Details) -> None:
        super().__init__(message, details)  # both, so that an error can be pickled
        self.message = message
        """What was wrong, where, and what to do."""
        self.details = details
        """The rest that is known."""

    def __str__(self) -> str:
        return self.message

    @property
    def code(self) -> str:
        """The status code by gRPC's name, for example ``NOT_FOUND``."""
        return self.details.code

    @property
    def reason(self) -> str:
        """The server's reason, for example ``SESSION_NOT_FOUND``; empty if the failure is not the server's."""
        return self.details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """Facts for programs."""
        return self.details.metadata

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same request may succeed; ``None`` if waiting alone does not help."""
        return self.details.retry_after

    @property
    def turn(self) -> str:
        """The full name of the turn that this is about, or empty."""
        return self.details.metadata.get("turn", "")


class RequestError(MCPError):
    """The request cannot be carried out: change it."""


class InvalidArgument(RequestError):
    """Fields of the request are bad; ``violations`` names all of them."""

    @property
    def violations(self) -> Mapping[str, str]:
        """The path of each bad field, and what is wrong with it."""
        return self.details.violations


class ContextTooLong(RequestError):
    """What must be sent is more than the model can read."""


class UnsupportedByModel(RequestError):
    """The model cannot do what was asked of it."""


class ToolResultsMissing(RequestError):
    """The model waits for the results of its tool calls."""


class SessionNotFound(RequestError):
    """There is no such session, or it has expired."""


class TurnNotFound(RequestError):
    """There is no such turn."""


class ModelNotFound(RequestError):
    """No provider answers to that model name."""


class SessionExists(RequestError):
    """The chosen session id is taken."""


class RequestIdReused(RequestError):
    """The ``request_id`` was used before, with another request."""


class SessionBusy(RequestError):
    """Another turn runs on the session."""


class EtagMismatch(RequestError):
    """The session has changed since it was read."""


class SequenceUnknown(RequestError):
    """That event was never issued."""


class TurnCancelled(RequestError):
    """The turn was stopped."""


class NotSupported(RequestError):
    """The server does not honour a field or a method."""


class ToolRoundsExceeded(RequestError):
    """The model asks for tools more often than it may. The client raises this, not the server."""


class AccessError(MCPError):
    """Change who you are."""


class BadCredentials(AccessError):
    """The credentials are missing or wrong."""


class NotAllowed(AccessError):
    """The credentials are good and do not allow this."""


class TryLater(MCPError):
    """The same request may succeed later."""


class QuotaExceeded(TryLater):
    """An allowance is used up."""


class Overloaded(TryLater):
    """The server has more work than it takes on."""


class Draining(TryLater):
    """The server is about to stop."""


class TurnInterrupted(TryLater):
    """The process that ran the turn died."""


class TurnTimeout(TryLater):
    """The turn's own timeout passed."""


class StoreUnavailable(TryLater):
    """The server cannot read or write its store."""


class ServerUnavailable(TryLater):
    """No server answered, or the connection was lost."""


class DeadlineExceeded(TryLater):
    """The call's own deadline passed."""


class ProviderError(MCPError):
    """A model provider failed."""


class ProviderRejected(ProviderError):
    """The provider refuses the content, or the server's credentials with it."""


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, cannot load, or failed."""


class ProviderRateLimited(ProviderError):
    """The provider asks for fewer calls."""


class ProviderStreamCut(ProviderError):
    """The provider's answer ended without saying that it was complete."""


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""


class InternalError(MCPError):
    """The server failed; ``metadata["error_id"]`` leads to its log."""


BY_REASON: Final[Mapping[str, type[MCPError]]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "CONTEXT_TOO_LONG": ContextTooLong,
    "UNSUPPORTED_BY_MODEL": UnsupportedByModel,
    "TOOL_RESULTS_MISSING": ToolResultsMissing,
    "SESSION_NOT_FOUND": SessionNotFound,
    "TURN_NOT_FOUND": TurnNotFound,
    "MODEL_NOT_FOUND": ModelNotFound,
    "SESSION_EXISTS": SessionExists,
    "REQUEST_ID_REUSED": RequestIdReused,
    "SESSION_BUSY": SessionBusy,
    "ETAG_MISMATCH": EtagMismatch,
    "SEQUENCE_UNKNOWN": SequenceUnknown,
    "PROVIDER_REJECTED": ProviderRejected,
    "BAD_CREDENTIALS": BadCredentials,
    "NOT_ALLOWED": NotAllowed,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "OVERLOADED": Overloaded,
    "DRAINING": Draining,
    "TURN_INTERRUPTED": TurnInterrupted,
    "STORE_UNAVAILABLE": StoreUnavailable,
    "PROVIDER_UNAVAILABLE": ProviderUnavailable,
    "PROVIDER_RATE_LIMITED": ProviderRateLimited,
    "PROVIDER_STREAM_CUT": ProviderStreamCut,
    "TURN_TIMEOUT": TurnTimeout,
    "PROVIDER_TIMEOUT": ProviderTimeout,
    "TURN_CANCELLED": TurnCancelled,
    "NOT_IMPLEMENTED": NotSupported,
    "INTERNAL": InternalError,
}
"""The class of every reason of the contract."""

_BY_CODE: Final[Mapping[str, type[MCPError]]] = {
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
    "UNAVAILABLE": ServerUnavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": TryLater,
}


def error_of(error: Any, address: str) -> MCPError:
    """The error to raise for a call that gRPC ended.

    Args:
        error: gRPC's own: a :class:`grpc.RpcError` that is a :class:`grpc.Call` too, which no type can say.
        address: who was called, for the message.
    """
    code = error.code().name
    message = error.details() or code
    trailers = dict(error.trailing_metadata() or ())
    details = _details(code, trailers.get("grpc-status-details-bin", b""), trailers.get("grpc-retry-pushback-ms"))
    if code == "CANCELLED" and not details.reason:
        # gRPC's servers end so what has reached them in the moment in which they stop: nobody has seen the call.
        code, details = "UNAVAILABLE", replace(details, code="UNAVAILABLE")
    kind = BY_REASON.get(details.reason) or _BY_CODE.get(code, InternalError)
    if kind is ServerUnavailable:
        message = f"no answer from {address}: {message}"
    elif kind is DeadlineExceeded:
        return deadline_passed(address, details)
    return kind(message, details)


def deadline_passed(address: str, details: Details = Details(code="DEADLINE_EXCEEDED")) -> DeadlineExceeded:
    """The error to raise when the caller's own deadline has passed."""
    return DeadlineExceeded(f"the deadline of the call to {address} passed before it was answered", details)


def _details(code: str, packed: str | bytes, pushback: str | bytes | None) -> Details:
    metadata: dict[str, str] = {}
    violations: dict[str, str] = {}
    reason, retry_after, final = "", None, False
    if pushback is not None:
        # As gRPC has it: a time to wait, or, by whatever is none, that there is no use.
        final = not pushback.isdigit()
        retry_after = None if final else int(pushback) / 1000
    try:
        status = status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"")
    except DecodeError:
        return Details(code=code, retry_after=retry_after)
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                others = violations.get(violation.field)
                violations[violation.field] = f"{others}; {violation.description}" if others else violation.description
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Details(
        code=code,
        reason=reason,
        metadata=metadata,
        violations=violations,
        retry_after=retry_after,
        # A connection that dies in the middle of the trailers leaves the pushback alone: asking again tells the rest.
        final=final and bool(reason),
    )
