"""From the server's errors to gRPC statuses: one table."""

from __future__ import annotations

from typing import Final

import grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mcp_server.errors import BY_REASON, InvalidArgument, MCPError, QuotaExceeded, RequestError
from mcp_server.values import SECOND

DOMAIN: Final = "contextprotocol"
MAX_DETAILS_BYTES: Final = 3_000
"""gRPC peers refuse trailers above 8 kB, and these are sent beside the message and others, base64-encoded."""
MAX_MESSAGE_CHARACTERS: Final = 1_000

CODES: Final = {reason: grpc.StatusCode[kind.code] for reason, kind in BY_REASON.items()}
"""The status of every reason."""

Trailers = tuple[tuple[str, str | bytes], ...]


def code_of(error: MCPError) -> grpc.StatusCode:
    """The status that an error ends a call with."""
    return CODES[error.reason]


def message_of(error: MCPError) -> str:
    """What is said of it, cut to a length that always fits."""
    text = error.message
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def trailers_of(error: MCPError) -> Trailers:
    """The machine-readable part: ``google.rpc`` details, and when to retry for clients that read only that trailer."""
    status = status_pb2.Status(code=getattr(code_pb2, code_of(error).name), message=message_of(error))
    metadata = {key: value[:512] for key, value in error.metadata.items()}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if isinstance(error, InvalidArgument):
        _add_violations(status, error)
    if isinstance(error, QuotaExceeded):
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=metadata.get("subject", ""), description=message_of(error))
        status.details.add().Pack(failure)
    if isinstance(error, RequestError) and error.reason.endswith("_NOT_FOUND"):
        kind = error.reason.removesuffix("_NOT_FOUND").lower()
        resource = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=metadata.get(kind, ""))
        status.details.add().Pack(resource)
    trailers: Trailers = ()
    if error.retry_after is not None:
        nanoseconds = int(error.retry_after * SECOND)
        delay = duration_pb2.Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        trailers = (("grpc-retry-pushback-ms", str(nanoseconds // 1_000_000)),)
    if error.final:
        trailers = (("grpc-retry-pushback-ms", "-1"),)
    return (("grpc-status-details-bin", status.SerializeToString()), *trailers)


def _add_violations(status: status_pb2.Status, error: InvalidArgument) -> None:
    request = error_details_pb2.BadRequest()
    room = MAX_DETAILS_BYTES - status.ByteSize()
    for number, violation in enumerate(error.violations):
        field = violation.field[:200]
        request.field_violations.add(field=field, description=violation.description[:500])
        if request.ByteSize() > room - 100:
            del request.field_violations[-1]
            request.field_violations.add(field="", description=f"… and {len(error.violations) - number} more")
            break
    status.details.add().Pack(request)
