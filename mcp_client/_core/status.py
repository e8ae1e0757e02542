"""Converts the status of a gRPC call to the error to raise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from mcp_client._core.responses.scalars import seconds
from mcp_client.errors import BY_CODE, BY_REASON, DeadlineExceeded, Details, InternalError, MCPError, ServerUnavailable

DOMAIN: Final = "contextprotocol"
"""The domain of the contract's reasons."""

_DEADLINE: Final = Details(code="DEADLINE_EXCEEDED")


def error_of(error: Any, address: str) -> MCPError:
    """The error to raise for a call that gRPC ended.

    Args:
        error: a :class:`grpc.RpcError` that is also a :class:`grpc.Call`, which has no common type.
        address: the server, for the message.
    """
    if not hasattr(error, "code"):  # raised by an interceptor of another library, and not by gRPC
        return InternalError(str(error) or type(error).__name__, Details(code="UNKNOWN"))
    code = error.code().name
    message = error.details() or code
    trailers = dict(error.trailing_metadata() or ())
    details = _details(code, trailers.get("grpc-status-details-bin", b""), trailers.get("grpc-retry-pushback-ms"))
    if code == "CANCELLED" and not details.reason:
        # A gRPC server that stops ends calls so that it has received and not yet handled.
        code, details = "UNAVAILABLE", replace(details, code="UNAVAILABLE")
    kind = BY_REASON.get(details.reason) or BY_CODE.get(code, InternalError)
    if kind is ServerUnavailable:
        message = f"no answer from {address}: {message}"
    elif kind is DeadlineExceeded:
        return deadline_exceeded(address, details)
    return kind(message, details)


def deadline_exceeded(address: str, details: Details = _DEADLINE) -> DeadlineExceeded:
    """The error to raise when the caller's own deadline has passed."""
    return DeadlineExceeded(f"the deadline of the call to {address} passed before the server answered", details)


def _details(code: str, packed: str | bytes, pushback: str | bytes | None) -> Details:
    metadata: dict[str, str] = {}
    violations: dict[str, str] = {}
    reason, retry_after, final, debug = "", None, False, ""
    if pushback is not None:
        # gRPC's convention: a number is the time to wait; anything else means that retrying does not help.
        final = not pushback.isdigit()
        retry_after = None if final else int(pushback) / 1000
    try:
        status = status_pb2.Status.FromString(packed if isinstance(packed, bytes) else b"")
    except DecodeError:
        return Details(code=code, retry_after=retry_after)
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry, exception = error_details_pb2.RetryInfo(), error_details_pb2.DebugInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                others = violations.get(violation.field)
                violations[violation.field] = f"{others}; {violation.description}" if others else violation.description
        elif detail.Unpack(retry):
            retry_after = seconds(retry.retry_delay)
        elif detail.Unpack(exception):
            debug = "\n  ".join((exception.detail, *exception.stack_entries))
    return Details(
        code=code,
        reason=reason,
        metadata=metadata,
        violations=violations,
        retry_after=retry_after,
        # A connection that is lost within the trailers may deliver the pushback alone: a retry then finds the reason.
        final=final and bool(reason),
        debug=debug,
    )
