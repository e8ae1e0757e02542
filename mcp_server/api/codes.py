"""Errors on the wire: their codes, messages and details, in the types of ``google.rpc``."""

from __future__ import annotations

from typing import Final

from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mcp_server.errors import BY_REASON, Debug, InvalidArgument, MCPError, QuotaExceeded, RequestError
from mcp_server.values import SECOND

DOMAIN: Final = "contextprotocol"
MAX_DETAILS_BYTES: Final = 3_000
"""gRPC peers refuse trailers above 8 kB, and the details are sent beside the message and others, base64-encoded."""
MAX_MESSAGE_CHARACTERS: Final = 1_000
MAX_MESSAGE_BYTES: Final = 1_200
"""Of a message as gRPC sends it: percent-encoded, so that a character that is not ASCII takes three bytes for each of
its bytes in UTF-8."""
_MAX_METADATA_BYTES: Final = 1_000
"""Of all metadata of an error together."""
_MAX_VALUE_BYTES: Final = 512
_MAX_EXCEPTION_BYTES: Final = 1_000
"""Of the exception that callers see in development mode."""
_MAX_RETRY_BYTES: Final = 100
"""Room for when to retry, which comes last."""


def number_of(reason: str) -> int:
    """The number of a reason's code in ``google.rpc.Code``."""
    return code_pb2.Code.Value(BY_REASON[reason].code)


def message_of(error: MCPError) -> str:
    """The error's message, cut to a length that always fits."""
    return sendable(error.message)


def sendable(text: str) -> str:
    """A text as the message of a status, cut to a length that always fits."""
    if len(text) <= MAX_MESSAGE_CHARACTERS and text.isascii() and text.isprintable() and "%" not in text:
        return text  # every character is sent as one byte
    text = text[: MAX_MESSAGE_CHARACTERS + 1]
    sizes = [1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode(errors="replace")) for char in text]
    if len(text) <= MAX_MESSAGE_CHARACTERS and sum(sizes) <= MAX_MESSAGE_BYTES:
        return text
    room, end = MAX_MESSAGE_BYTES - 9, 0  # an ellipsis takes nine bytes
    while end < MAX_MESSAGE_CHARACTERS - 1 and room >= sizes[end]:
        room -= sizes[end]
        end += 1
    return text[:end] + "…"


def status_of(error: MCPError) -> status_pb2.Status:
    """The error for programs: code, message and details, all within :data:`MAX_DETAILS_BYTES`."""
    status = status_pb2.Status(code=number_of(error.reason), message=message_of(error))
    metadata = _metadata(error)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if isinstance(error, QuotaExceeded):
        failure = error_details_pb2.QuotaFailure()
        failure.violations.add(subject=metadata.get("subject", ""), description=_first_bytes(status.message, 300))
        status.details.add().Pack(failure)
    if isinstance(error, RequestError) and error.reason.endswith("_NOT_FOUND"):
        kind = error.reason.removesuffix("_NOT_FOUND").lower()
        resource = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=metadata.get(kind, ""))
        status.details.add().Pack(resource)
    if isinstance(error, InvalidArgument):
        _add_violations(status, error)
    if error.retry_after is not None:
        nanoseconds = int(error.retry_after * SECOND)
        delay = duration_pb2.Duration(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.debug is not None:
        _add_debug(status, error.debug)
    return status


def _add_debug(status: status_pb2.Status, debug: Debug) -> None:
    """Add the exception, and as many of its last frames as fit."""
    info = error_details_pb2.DebugInfo(detail=_first_bytes(debug.exception, _MAX_EXCEPTION_BYTES))
    room = MAX_DETAILS_BYTES - status.ByteSize() - info.ByteSize() - 100
    frames: list[str] = []
    for frame in reversed(debug.frames):
        cut = _first_bytes(frame, _MAX_VALUE_BYTES)
        room -= len(cut.encode()) + 3
        if room < 0:
            break
        frames.insert(0, cut)
    info.stack_entries.extend(frames)
    status.details.add().Pack(info)


def pushback_of(error: MCPError) -> str | None:
    """When to send the request again, in milliseconds, ``-1``: never; for clients that read no details."""
    if error.final:
        return "-1"
    return None if error.retry_after is None else str(int(error.retry_after * 1000))


def _metadata(error: MCPError) -> dict[str, str]:
    """The metadata of an error, its values cut, as many as fit."""
    metadata, room = {}, _MAX_METADATA_BYTES
    for key, value in error.metadata.items():
        cut = _first_bytes(value, min(_MAX_VALUE_BYTES, room - len(key)))
        room -= len(key) + len(cut.encode())
        if room < 0:
            break
        metadata[key] = cut
    return metadata


def _first_bytes(text: str, most: int) -> str:
    """The beginning of a text, at most ``most`` bytes in UTF-8."""
    if len(text) * 4 <= most:
        return text
    return text[: max(most, 0)].encode(errors="replace")[: max(most, 0)].decode(errors="ignore")


def _add_violations(status: status_pb2.Status, error: InvalidArgument) -> None:
    request = error_details_pb2.BadRequest()
    room = MAX_DETAILS_BYTES - status.ByteSize() - _MAX_RETRY_BYTES
    left = len(error.violations) + error.more
    for violation in error.violations:
        request.field_violations.add(
            field=_first_bytes(violation.field, 300), description=_first_bytes(violation.description, 500)
        )
        if request.ByteSize() > room - 100:
            del request.field_violations[-1]
            break
        left -= 1
    if left:
        request.field_violations.add(field="", description=f"… and {left} more")
    status.details.add().Pack(request)
