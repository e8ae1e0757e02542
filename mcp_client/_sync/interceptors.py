"""Interceptors of the user, as gRPC's blocking channel takes them. Written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc import UnaryStreamClientInterceptor, UnaryUnaryClientInterceptor

from mcp_client._core.interceptors import checked

SyncInterceptor = UnaryUnaryClientInterceptor | UnaryStreamClientInterceptor
"""An interceptor of unary calls, of streams or of both."""


def of_channel(interceptors: Sequence[SyncInterceptor]) -> tuple[Any, ...]:
    """The interceptors."""
    return checked(interceptors, "grpc", UnaryUnaryClientInterceptor, UnaryStreamClientInterceptor)
