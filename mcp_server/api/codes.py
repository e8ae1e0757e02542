"""Errors on the wire: their codes, messages and details, in the types of ``google.rpc``."""

from __future__ import annotations

from typing import Final

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mcp_server.errors import BY_REASON, InvalidArgument, MCPError, QuotaExceeded, RequestError
from mcp_server.values import SECOND

DOMAIN: Final = "contextprotocol"
MAX_DETAILS_BYTES: Final = 3_000
"""gRPC peers refuse trailers above 8 kB, and the details are sent beside the message and others, base64-encoded."""
MAX_MESSAGE_CHARACTERS: Final = 1_000


def number_of(reason: str) -> int:
    """The number of a reason's code in ``google.rpc.Code``."""
    return code_pb2.Code.Value(BY_REASON[reason].code)


def message_of(error: MCPError) -> str:
    """The error's message, cut to a length that always fits."""
    text = error.message
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def status_of(error: MCPError) -> status_pb2.Status:
    """The error for programs: code, message and details."""
    status = status_pb2.Status(code=number_of(error.reason), message=message_of(error))
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
    if error.retry_after is not None:
        nanoseconds = int(error.retry_after * SECOND)
        delay = duration_pb2.Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


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
