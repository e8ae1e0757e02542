"""Request ids: what makes a call free to retry."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from mcp_server.errors import RequestIdReused
from mcp_server.interfaces import RequestKey
from mcp_server.values import MCPSession, Receipt, Turn


def digest_of(*request: Any) -> bytes:
    """Tells a request from every other: equal for equal values, whatever the order of what has none."""
    return hashlib.blake2b(_encode(request), digest_size=16).digest()


_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def check_digest(turn: Turn, digest: bytes) -> None:
    """Refuse a request that has the ``request_id`` of ``turn`` and is another one."""
    if turn.digest != digest:
        raise RequestIdReused(
            f"the request_id {turn.request_id!r} belongs to the turn {turn.name}, whose request was another one: send "
            "that one again, or choose a new request_id",
            metadata={"turn": turn.name},
        )


def check_receipt(receipt: Receipt, digest: bytes) -> None:
    if receipt.digest != digest:
        raise RequestIdReused(
            f"the request_id {receipt.request_id!r} was used before, for another request: choose a new one",
            metadata={"session": f"sessions/{receipt.session}"},
        )


def receipt_of(session: MCPSession, request: RequestKey, digest: bytes, now: int, *, first_index: int = 0) -> Receipt:
    return Receipt(
        tenant=session.tenant,
        service=request.service,
        request_id=request.request_id,
        scope=session.uid if request.in_session else "",
        digest=digest,
        create_time=now,
        session=session.id,
        session_uid=session.uid,
        first_index=first_index,
    )


def request_of(turn: Turn) -> RequestKey:
    return RequestKey(service=turn.service, request_id=turn.request_id, in_session=bool(turn.session))
