"""How a call that fails ends: a gRPC status and its trailers."""

from __future__ import annotations

from typing import NamedTuple

import grpc

from mcp_server.api.codes import message_of, pushback_of, sendable, status_of
from mcp_server.errors import MCPError
from mcp_server.pipeline import OtherStatus

Trailers = tuple[tuple[str, str | bytes], ...]


class Status(NamedTuple):
    """The arguments of ``ServicerContext.abort``."""

    code: grpc.StatusCode
    message: str
    trailers: Trailers = ()


class PlainStatus(OtherStatus):
    """Ends a call of a standard service with the bare status that its own specification asks for."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code.name, message)
        self.status = Status(code, sendable(message))


def status_and_trailers(error: MCPError) -> Status:
    """The status of an error. The trailers hold its details, and when to retry for clients that read only that one."""
    trailers: Trailers = (("grpc-status-details-bin", status_of(error).SerializeToString()),)
    if (pushback := pushback_of(error)) is not None:
        trailers += (("grpc-retry-pushback-ms", pushback),)
    # gRPC and ``google.rpc.Code`` give the codes the same names.
    return Status(grpc.StatusCode[error.code], message_of(error), trailers)
