"""Sends calls, and judges how they end."""

from __future__ import annotations

import time
from typing import Any, Final, NamedTuple

import grpc

from tests.auth.keys import ENDLESS
from tests.costly import path_of
from tests.fuzz.requests import RPCS, Request

DEADLINE: Final = 20.0
"""Seconds after which a call hangs."""
HANGS: Final = "no end within the deadline"
"""What is wrong then."""
METHODS: Final = {path_of(method): method for method, _ in RPCS}
"""Of all RPCS, by path."""
_DETAILS: Final = "grpc-status-details-bin"


class Outcome(NamedTuple):
    """How a call ended."""

    code: str
    seconds: float
    received: tuple[bytes, ...]
    """Everything that the server sent: responses, message, trailers."""
    explained: bool
    """Whether there are details of the status."""


class Caller:
    """Calls methods by their paths, with bytes, on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._calls: dict[str, Any] = {}
        for path, method in METHODS.items():
            # One message on every stream: gRPC's client ends with INTERNAL itself if it sends when a call has ended.
            streams = method.client_streaming or method.server_streaming
            self._calls[path] = channel.unary_stream(path) if streams else channel.unary_unary(path)

    async def send(self, request: Request) -> Outcome:
        """Make the call, and return how it ended."""
        method, begin = METHODS[request.path], time.monotonic()
        received: list[bytes] = []
        code, explained = "OK", False
        call = self._calls[request.path](request.body, metadata=request.metadata, timeout=DEADLINE)
        try:
            if not method.server_streaming:
                received.append(await call)
            elif method.full_name in ENDLESS:
                received.append(await call.read() or b"")
                call.cancel()
            else:
                received.extend([response async for response in call])
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            trailers = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
            explained = any(key == _DETAILS for key, _ in trailers)
            received += [part if isinstance(part, bytes) else part.encode() for pair in trailers for part in pair]
            received.append((error.details() or "").encode())
        return Outcome(code, time.monotonic() - begin, tuple(received), explained)


def wrong(request: Request, outcome: Outcome, marker: bytes) -> str:
    """What is wrong with how the call ended, or nothing.

    Args:
        request: the call.
        outcome: how it ended.
        marker: the text that only other callers have; empty: the caller may see it.
    """
    if outcome.code in ("INTERNAL", "UNKNOWN", "DATA_LOSS"):
        return outcome.code
    if outcome.seconds >= DEADLINE:
        return HANGS
    if outcome.code != "OK" and not outcome.explained and request.path.startswith("/contextprotocol."):
        return f"{outcome.code} without details"
    if marker and any(marker in part for part in outcome.received):
        return "text of another caller"
    return ""
