"""A caller as a program in any language would write it with generated stubs: the same request again, behind the last
event that it saw, until the turn has ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from contextprotocol.v1 import chat_pb2, chat_pb2_grpc, turn_pb2

OPTIONS: Final = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
"""A channel of its own is a connection of its own, and nothing is sent again behind the caller's back."""


@dataclass(slots=True)
class Received:
    """What a caller has of a turn."""

    text: str = ""
    """The answer so far."""
    sequence: int | None = None
    """The last event that it saw."""
    turn: str = ""
    """The turn's full name."""
    attempts: int = 0
    """How often the request was sent."""
    restarts: int = 0
    """How often the answer began anew."""
    completed: turn_pb2.TurnCompleted | None = None
    """The end."""

    def add(self, event: turn_pb2.TurnEvent) -> None:
        """Take in one event; a number that does not increase is an error of the server."""
        kind = event.WhichOneof("event")
        if kind == "heartbeat":
            return
        assert event.sequence > (self.sequence or 0), f"{event} after {self.sequence}"
        assert self.completed is None, f"{event} after the end"
        self.sequence = event.sequence
        if kind in ("queued", "started"):
            self.turn = getattr(event, kind).turn
        elif kind == "delta":
            self.text += event.delta.text
        elif kind == "switched":
            assert event.switched.mode == turn_pb2.AttemptSwitched.MODE_RESTARTED
            self.text, self.restarts = "", self.restarts + 1
        elif kind == "completed":
            self.completed = event.completed


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The contract's reason of an error; empty if it does not come from the server."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    found = [detail for detail in status_pb2.Status.FromString(details).details if detail.Unpack(info)]
    return info.reason if found else ""


async def stream_once(
    stub: Any, request: chat_pb2.ChatRequest, received: Received, *, timeout: float | None = None
) -> None:
    """Send the request once, behind what was received, and add what comes; raise what it ends with."""
    sent = chat_pb2.ChatRequest()
    sent.CopyFrom(request)
    if received.sequence is not None:
        sent.after_sequence = received.sequence
    received.attempts += 1
    stream = stub.StreamChat(sent, timeout=timeout)
    try:
        while (event := await stream.read()) is not grpc.aio.EOF:
            received.add(event)
    finally:
        stream.cancel()


async def persist(
    address: str,
    request: chat_pb2.ChatRequest,
    *,
    timeout: float = 10.0,
    patience: float = 30.0,
    pause: float = 0.0,
    received: Received | None = None,
) -> Received:
    """Send the request until its turn has ended.

    Args:
        address: of the server.
        request: with a ``request_id``.
        timeout: seconds after which a connection that says nothing of its end is given up.
        patience: seconds for all.
        pause: seconds between two attempts.
        heard: what is known already.

    Raises:
        grpc.aio.AioRpcError: the turn ended otherwise, or was refused.
    """
    received = received or Received()
    async with asyncio.timeout(patience):
        while True:
            async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
                try:
                    await stream_once(chat_pb2_grpc.ChatServiceStub(channel), request, received, timeout=timeout)
                except grpc.aio.AioRpcError as error:
                    if not may_pass(error):
                        raise
                else:
                    assert received.completed is not None, "it ended well without an end"
                    return received
            await asyncio.sleep(pause)


def may_pass(error: grpc.aio.AioRpcError) -> bool:
    """Whether the same request again is the right answer.

    A connection that is lost in the middle of the trailers leaves some of them behind: they count only with a reason.
    """
    reason = reason_of(error)
    if not reason:  # the connection, or this attempt's own deadline
        return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    if dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms") == "-1":
        return False
    return reason in ("DRAINING", "OVERLOADED", "TURN_INTERRUPTED", "STORE_UNAVAILABLE")
