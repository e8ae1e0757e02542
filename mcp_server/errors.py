"""Every error that the server raises, grouped by who has to act.

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
    │   ├── KeyNotFound
    │   ├── SessionExists
    │   ├── RequestIdReused
    │   ├── SessionBusy
    │   ├── EtagMismatch
    │   ├── SequenceUnknown
    │   ├── TurnCancelled
    │   └── NotSupported
    ├── AccessError               the caller uses other credentials
    │   ├── BadCredentials
    │   └── NotAllowed
    ├── TryLater                  the caller tries again later
    │   ├── QuotaExceeded
    │   ├── Overloaded
    │   ├── Draining
    │   ├── TurnInterrupted
    │   ├── TurnTimeout
    │   └── StoreUnavailable
    ├── ProviderError             a model provider failed
    │   ├── ProviderRejected
    │   ├── ProviderUnavailable
    │   ├── ProviderRateLimited
    │   ├── ProviderStreamCut
    │   └── ProviderTimeout
    └── InternalError             the server failed

Each leaf states everything about one reason: its name in ``contextprotocol.v1.ErrorReason`` (without the prefix), the
status on each edge, whether a retry helps, and what the caller can do. The edges' status tables and docs/errors.md are
derived from these attributes; to add a reason, add a class here and a value to ``errors.proto``.

Messages say what is wrong, where, what is allowed, and what to do. They never contain internals, prompts or keys.
Nothing here imports gRPC or HTTP.

:class:`ConfigError` stands apart: it prevents the start and never reaches a caller.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Mapping, Sequence
from traceback import TracebackException
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

import msgspec

_FRAMES: Final = 8
"""How many frames of an unexpected exception are kept."""


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One invalid field of a request."""

    field: str
    """The path of the field as the caller wrote it, for example ``messages[2].parts[0].text``."""
    description: str
    """What was found there and what is allowed."""


class Debug(msgspec.Struct, frozen=True, kw_only=True):
    """The exception behind an error, for callers of a server in development mode."""

    exception: str
    """Its type and message."""
    frames: tuple[str, ...] = ()
    """The end of its traceback, the line that raised it last."""

    @classmethod
    def of(cls, trace: TracebackException) -> Self:
        """What callers see of an exception."""
        frames = [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in trace.stack]
        return cls(
            exception=_encodable("".join(trace.format_exception_only()).strip()),
            frames=tuple([_encodable(frame) for frame in frames]),
        )

    @property
    def text(self) -> str:
        """The exception, and below it a line for each frame."""
        return "\n  ".join((self.exception, *self.frames))


class RetryAdvice(enum.StrEnum):
    """Whether sending the request again can succeed."""

    SAME_REQUEST = "the same request"
    """Send the same request again, with the same ``request_id``: nothing is done twice."""
    NEW_REQUEST_ID = "a new request_id"
    """The turn has ended with this error; send the request again with a new ``request_id``."""
    NO = "no"
    """Sending the same request again does not help until something else has changed."""


class MCPError(Exception):
    """The root: every error that reaches a caller of this server.

    Args:
        message: what is wrong, where, and what to do.
        metadata: facts for programs, for example ``{"turn": "sessions/a/turns/b"}``.
        retry_after: seconds after which the same request may succeed; ``None`` if waiting alone does not help.
    """

    reason: ClassVar[str] = "INTERNAL"
    """The name in ``contextprotocol.v1.ErrorReason``, without the prefix ``ERROR_REASON_``."""
    code: ClassVar[str] = "INTERNAL"
    """The gRPC status code, by name."""
    http_status: ClassVar[int] = 500
    """The HTTP status code."""
    retry: ClassVar[RetryAdvice] = RetryAdvice.NO
    """Whether sending the request again can succeed."""
    action: ClassVar[str] = "Report it to the operator."
    """What the caller can do, in Markdown, for the documentation."""

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.final = False
        """Whether a turn ended with this error for good: the same request receives it again."""
        self.unexpected: TracebackException | None = None
        """The exception that this error stands for, if it was unexpected. Callers do not see it."""
        self.debug: Debug | None = None
        """The same for callers, in development mode."""


class RequestError(MCPError):
    """The request cannot be carried out as it is: the caller changes it."""


class InvalidArgument(RequestError):
    """Fields of the request are invalid; the error lists up to 50 of them and says how many more were found."""

    reason = "INVALID_ARGUMENT"
    code = "INVALID_ARGUMENT"
    http_status = 400
    action = "Correct every field that `google.rpc.BadRequest` lists."

    def __init__(self, violations: Sequence[Violation], message: str = "", *, more: int = 0) -> None:
        self.violations = tuple(violations)
        self.more = more
        """How many violations were found and are not listed."""
        listed = [f"{one.field}: {one.description}" if one.field else one.description for one in self.violations]
        if more:
            listed.append(f"and {more} more")
        super().__init__(message or "; ".join(listed))


class ContextTooLong(RequestError):
    """The prompt does not fit into the context window of the model."""

    reason = "CONTEXT_TOO_LONG"
    code = "INVALID_ARGUMENT"
    http_status = 400
    action = "Send less, allow truncation, or use a model with a larger context window. Metadata: `tokens`, `limit`."


class UnsupportedByModel(RequestError):
    """The model does not support a feature that the request needs."""

    reason = "UNSUPPORTED_BY_MODEL"
    code = "INVALID_ARGUMENT"
    http_status = 400
    action = "Use another model, or leave the feature out. Metadata: `model`, `capability`."


class ToolResultsMissing(RequestError):
    """The history ends with tool calls, and the input does not begin with their results; or tool calls within the input
    are not followed by theirs.
    """

    reason = "TOOL_RESULTS_MISSING"
    code = "INVALID_ARGUMENT"
    http_status = 400
    action = "Send the results of the tool calls first. Metadata: `tool_call_ids`."


class SessionNotFound(RequestError):
    """The session does not exist, has expired, or belongs to another tenant."""

    reason = "SESSION_NOT_FOUND"
    code = "NOT_FOUND"
    http_status = 404
    action = "Use another session, or create it."


class TurnNotFound(RequestError):
    """The turn does not exist, is past its retention period, or belongs to another tenant; or ``after_sequence`` came
    with an unknown ``request_id``.
    """

    reason = "TURN_NOT_FOUND"
    code = "NOT_FOUND"
    http_status = 404
    action = "Look into the history of the session; then send the request without `after_sequence`."


class ModelNotFound(RequestError):
    """No provider has a model of that name."""

    reason = "MODEL_NOT_FOUND"
    code = "NOT_FOUND"
    http_status = 404
    action = "Use a name that `ListModels` returns, or correct the settings of the server."


class KeyNotFound(RequestError):
    """No API key has that name, or it belongs to another tenant."""

    reason = "KEY_NOT_FOUND"
    code = "NOT_FOUND"
    http_status = 404
    action = "Use a name that `ListKeys` returns."


class SessionExists(RequestError):
    """A session with the chosen id exists already."""

    reason = "SESSION_EXISTS"
    code = "ALREADY_EXISTS"
    http_status = 409
    action = "Choose another id, or use that session."


class RequestIdReused(RequestError):
    """The ``request_id`` was used before, for a different request."""

    reason = "REQUEST_ID_REUSED"
    code = "ALREADY_EXISTS"
    http_status = 409
    action = "Choose a new `request_id` for each request."


class SessionBusy(RequestError):
    """Another turn is running on the session."""

    reason = "SESSION_BUSY"
    code = "ABORTED"
    http_status = 409
    action = "Wait for the turn that the metadata `turn` names, or choose another `if_busy`."


class EtagMismatch(RequestError):
    """The session has changed since the caller read its etag."""

    reason = "ETAG_MISMATCH"
    code = "ABORTED"
    http_status = 412
    action = "Read the session again and decide again."


class SequenceUnknown(RequestError):
    """``after_sequence`` is greater than any sequence number that was sent."""

    reason = "SEQUENCE_UNKNOWN"
    code = "OUT_OF_RANGE"
    http_status = 400
    action = "Correct the client; to read the turn from its beginning, send 0."


class TurnCancelled(RequestError):
    """The turn was cancelled before it ended."""

    reason = "TURN_CANCELLED"
    code = "CANCELLED"
    http_status = 499
    action = "Nothing; to run the request after all, send it with a new `request_id`."


class NotSupported(RequestError):
    """The server does not implement a field or method of the contract."""

    reason = "NOT_IMPLEMENTED"
    code = "UNIMPLEMENTED"
    http_status = 501
    action = "Leave out what the metadata `field` or `method` names."


class AccessError(MCPError):
    """The caller may not do this with these credentials."""


class BadCredentials(AccessError):
    """The credentials are missing or wrong."""

    reason = "BAD_CREDENTIALS"
    code = "UNAUTHENTICATED"
    http_status = 401
    action = "Send valid credentials."


class NotAllowed(AccessError):
    """The credentials are valid and do not permit this."""

    reason = "NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    http_status = 403
    action = "Use credentials with the permission."


class TryLater(MCPError):
    """The request may succeed later."""


class QuotaExceeded(TryLater):
    """A quota of the caller is used up."""

    reason = "QUOTA_EXCEEDED"
    code = "RESOURCE_EXHAUSTED"
    http_status = 429
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Wait until the quota that `google.rpc.QuotaFailure` names is renewed."


class Overloaded(TryLater):
    """The server has more work than it accepts."""

    reason = "OVERLOADED"
    code = "RESOURCE_EXHAUSTED"
    http_status = 429
    retry = RetryAdvice.SAME_REQUEST
    action = "Wait as long as `google.rpc.RetryInfo` says."


class Draining(TryLater):
    """The server is shutting down."""

    reason = "DRAINING"
    code = "UNAVAILABLE"
    http_status = 503
    retry = RetryAdvice.SAME_REQUEST
    action = "Wait as long as `google.rpc.RetryInfo` says; another process answers."


class TurnInterrupted(TryLater):
    """The process that ran the turn died."""

    reason = "TURN_INTERRUPTED"
    code = "UNAVAILABLE"
    http_status = 503
    retry = RetryAdvice.SAME_REQUEST
    action = "Send the original request again with the same `request_id`; the turn runs again."


class TurnTimeout(TryLater):
    """The ``timeout`` of the turn has passed."""

    reason = "TURN_TIMEOUT"
    code = "DEADLINE_EXCEEDED"
    http_status = 504
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Allow more time."


class StoreUnavailable(TryLater):
    """The store cannot be read or written now, for example because its disk is full."""

    reason = "STORE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http_status = 503
    retry = RetryAdvice.SAME_REQUEST
    action = "Wait; if the failure is recorded as the end of the turn, use a new `request_id`."


class ProviderError(MCPError):
    """A provider failed, and no other could answer instead."""


class ProviderRejected(ProviderError):
    """The provider refuses the content, or the credentials that the server sends."""

    reason = "PROVIDER_REJECTED"
    code = "FAILED_PRECONDITION"
    http_status = 400
    action = (
        "See `cause` in the metadata: with `content`, change the request; with `credentials`, the operator corrects "
        "the settings."
    )


class ProviderUnavailable(ProviderError):
    """The provider cannot be reached, cannot load the model, or answers with an error of its own."""

    reason = "PROVIDER_UNAVAILABLE"
    code = "UNAVAILABLE"
    http_status = 503
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Try later; `google.rpc.RetryInfo` says when, if the provider did."


class ProviderRateLimited(ProviderError):
    """The provider limits the rate of calls."""

    reason = "PROVIDER_RATE_LIMITED"
    code = "UNAVAILABLE"
    http_status = 503
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Try later; `google.rpc.RetryInfo` says when, if the provider did."


class ProviderStreamCut(ProviderError):
    """The answer of the provider broke off before its end."""

    reason = "PROVIDER_STREAM_CUT"
    code = "UNAVAILABLE"
    http_status = 502
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Try again."


class ProviderTimeout(ProviderError):
    """The provider did not answer in time."""

    reason = "PROVIDER_TIMEOUT"
    code = "DEADLINE_EXCEEDED"
    http_status = 504
    retry = RetryAdvice.NEW_REQUEST_ID
    action = "Try later, or allow more time."


class InternalError(MCPError):
    """The server failed; the message contains an id to look up in its log, and nothing else."""

    reason = "INTERNAL"
    code = "INTERNAL"
    http_status = 500
    action = "Report the `error_id` of the metadata to the operator."

    @classmethod
    def logged(
        cls, log: Any, event: str, cause: BaseException, *, what: str = "the server failed", **facts: str
    ) -> Self:
        """The error of an unexpected exception, which is written to the log under the id that the error names.

        Args:
            log: a logger of structlog.
            event: the event of its line.
            cause: the exception.
            what: what failed, for the message.
            facts: what else the line has. ``model`` is also put into the metadata.
        """
        error_id = secrets.token_hex(6)
        log.error(event, error_id=error_id, exc_info=cause, **facts)
        metadata = {"error_id": error_id, **({"model": facts["model"]} if "model" in facts else {})}
        error = cls(
            f"{what}: internal error {error_id}; the server's log has the details under this id", metadata=metadata
        )
        error.unexpected = trace_of(cause)
        return error


class ConfigError(Exception):
    """The settings cannot be used; the message says file, key, what was found and what is allowed."""


def trace_of(error: BaseException) -> TracebackException:
    """The exception without the objects that its traceback keeps alive, and the last frames."""
    return TracebackException.from_exception(error, limit=-_FRAMES, lookup_lines=False, compact=True)


def _encodable(text: str) -> str:
    """A text for the wire. Messages and paths may hold half a surrogate pair, which UTF-8 cannot express."""
    return text.encode(errors="backslashreplace").decode()


def _leaves(kind: type[MCPError]) -> list[type[MCPError]]:
    branches = kind.__subclasses__()
    return [leaf for branch in branches for leaf in _leaves(branch)] if branches else [kind]


BY_REASON: Final[Mapping[str, type[MCPError]]] = MappingProxyType({kind.reason: kind for kind in _leaves(MCPError)})
"""The class of every reason, in the order of the tree."""


def recorded(reason: str, message: str, metadata: Mapping[str, str]) -> MCPError:
    """The error that was recorded by its reason; a reason that is not known any more is an :class:`InternalError`."""
    kind = BY_REASON.get(reason, InternalError)
    error = InvalidArgument((), message) if kind is InvalidArgument else kind(message)
    error.metadata.update(metadata)
    return error
