"""Interceptors of gRPC's channel that the user hands in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

AsyncInterceptor = grpc.aio.UnaryUnaryClientInterceptor | grpc.aio.UnaryStreamClientInterceptor
"""An interceptor of gRPC's asynchronous channel, of one kind of calls or of both."""
SyncInterceptor = grpc.UnaryUnaryClientInterceptor | grpc.UnaryStreamClientInterceptor
"""An interceptor of gRPC's blocking channel, of one kind of calls or of both."""


def checked(interceptors: Sequence[Any], module: str, unary: type, stream: type) -> tuple[Any, ...]:
    """The interceptors of a client.

    Raises:
        TypeError: one is of another channel, or of neither kind of calls that the contract has.
    """
    for position, interceptor in enumerate(interceptors):
        if not isinstance(interceptor, (unary, stream)):
            raise TypeError(
                f"interceptors[{position}]: expected a UnaryUnaryClientInterceptor or UnaryStreamClientInterceptor of "
                f"{module}, not {interceptor!r}"
            )
    return tuple(interceptors)
