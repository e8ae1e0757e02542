"""Interceptors of the user, as gRPC's asynchronous channel takes them. The blocking client has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc.aio import ClientInterceptor, UnaryStreamClientInterceptor, UnaryUnaryClientInterceptor

from mcp_client._core.interceptors import checked

AsyncInterceptor = UnaryUnaryClientInterceptor | UnaryStreamClientInterceptor
"""An interceptor of unary calls, of streams or of both."""


def of_channel(interceptors: Sequence[AsyncInterceptor]) -> tuple[ClientInterceptor, ...]:
    """The interceptors, each of one kind of calls: of one for both kinds, gRPC would use that for unary calls alone."""
    found: list[ClientInterceptor] = []
    for interceptor in checked(interceptors, "grpc.aio", UnaryUnaryClientInterceptor, UnaryStreamClientInterceptor):
        if isinstance(interceptor, UnaryUnaryClientInterceptor):
            found.append(interceptor)
        if isinstance(interceptor, UnaryStreamClientInterceptor):
            found.append(_OfStreams(interceptor))
    return tuple(found)


class _OfStreams(UnaryStreamClientInterceptor):
    def __init__(self, interceptor: UnaryStreamClientInterceptor) -> None:
        self._interceptor = interceptor

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._interceptor.intercept_unary_stream(continuation, client_call_details, request)
