"""Idempotency: the request ids, digests and receipts that make calls safe to retry."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from mcp_server.errors import RequestIdReused
from mcp_server.interfaces import RequestKey
from mcp_server.values import MCPSession, Receipt, Turn


def digest_of(*request: Any) -> bytes:
    """The digest of a request: equal for equal requests, whatever the order of keys in their mappings."""
    return hashlib.blake2b(_encode(request), digest_size=16).digest()


_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def check_digest(turn: Turn, digest: bytes) -> None:
    """Refuse a request whose ``request_id`` a different request has, the one that began ``turn``.

    Raises:
        RequestIdReused: the digests differ.
    """
    if turn.digest != digest:
        raise RequestIdReused(
            f"the request_id {turn.request_id!r} was already used for a different request, which began the turn "
            f"{turn.name}: send that request again, or choose a new request_id",
            metadata={"turn": turn.name},
        )


def check_receipt(receipt: Receipt, digest: bytes) -> None:
    """Refuse a request whose ``request_id`` a different request has, the one of ``receipt``. Raises as
    :func:`check_digest`."""
    if receipt.digest != digest:
        raise RequestIdReused(
            f"the request_id {receipt.request_id!r} was already used for a different request: choose a new request_id",
            metadata={"session": f"sessions/{receipt.session}"},
        )


def receipt_of(session: MCPSession, request: RequestKey, digest: bytes, now: int, *, first_index: int = 0) -> Receipt:
    """The receipt of a request that wrote ``session``."""
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
    """The key of the request that began ``turn``."""
    return RequestKey(service=turn.service, request_id=turn.request_id, in_session=bool(turn.session))
