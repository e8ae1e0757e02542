"""How a call that fails ends, before a protocol gives it its form."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from mcp_server.api.codes import pushback_of, sendable, status_of
from mcp_server.errors import MCPError
from mcp_server.pipeline import OtherStatus
from mcp_server.web.exchange import HTTPProblem

HTTP_STATUS: Final = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The HTTP status of each code, as the Connect protocol has it."""
_OF_HTTP: Final = frozenset({404, 405, 415, 505})
"""The problems of HTTP itself: their status is the same in every protocol."""


class Failure(NamedTuple):
    """The end of a call that failed."""

    status: status_pb2.Status
    """Code, message and details."""
    http_status: int
    """The status of a response that is nothing but this error."""
    of_http: bool
    """Whether HTTP itself refuses the request: the response then has ``http_status`` in every protocol."""
    metadata: Mapping[str, str]
    """For the caller's library: when to send the request again."""
    headers: Mapping[str, str]
    """For HTTP."""

    @property
    def code(self) -> str:
        """gRPC's name of the code."""
        return code_pb2.Code.Name(self.status.code)

    @property
    def as_json(self) -> dict[str, Any]:
        """The error in the form of the Connect protocol."""
        code = self.code
        error: dict[str, Any] = {"code": "canceled" if code == "CANCELLED" else code.lower()}
        if self.status.message:
            error["message"] = self.status.message
        if self.status.details:
            error["details"] = [
                {
                    "type": detail.TypeName(),
                    "value": base64.b64encode(detail.value).rstrip(b"=").decode(),
                    "debug": {k: v for k, v in json_format.MessageToDict(detail).items() if k != "@type"},
                }
                for detail in self.status.details
            ]
        return error


def failure_of(error: MCPError | OtherStatus) -> Failure:
    """The end of a call that ``error`` ends."""
    if isinstance(error, MCPError):
        pushback = pushback_of(error)
        return Failure(
            status=status_of(error),
            http_status=HTTP_STATUS[error.code],
            of_http=False,
            metadata={} if pushback is None else {"grpc-retry-pushback-ms": pushback},
            headers={} if error.retry_after is None else {"retry-after": str(math.ceil(error.retry_after))},
        )
    code, status, headers = error.code, HTTP_STATUS[error.code], {}
    if isinstance(error, HTTPProblem):
        status, headers = error.status, error.headers
        if status == 404:
            code = "UNIMPLEMENTED"  # there is no such method; NOT_FOUND is for resources
    return Failure(
        status=status_pb2.Status(code=code_pb2.Code.Value(code), message=sendable(str(error))),
        http_status=status,
        of_http=status in _OF_HTTP and isinstance(error, HTTPProblem),
        metadata={},
        headers=headers,
    )
