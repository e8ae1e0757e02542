"""How values stand in the rows of the tables, and where the rows of one session or turn lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.values import (
    Claim,
    ContextEntry,
    MCPSession,
    Message,
    Receipt,
    Struct,
    Turn,
)

T = TypeVar("T")

DAMAGED: Final = "the file of the store is damaged: its operator has to put back a copy of it"

_INDEX_BITS: Final = 32
MAX_MESSAGES: Final = 1 << _INDEX_BITS
"""The most messages that a history can have."""
_PIECE_BITS: Final = 24

Range = tuple[int, int]
"""Keys of rows that lie together: the first, and the one behind the last."""
Segment = tuple[int, int]
"""The key of the session that wrote these messages of a history, and the index before which they end."""

SESSION_COLUMNS: Final = """
    s.key, s.tenant, s.id, s.uid, s.create_time, s.update_time, s.etag, s.expire_time, s.message_count, s.fence,
    s.claim_turn, s.claim_owner, s.claim_fence, s.claim_expire_time, c.summary"""
"""What :func:`session_of` makes a session of, from ``sessions`` and ``contents``."""


class _Summary(Struct):
    """What rarely changes and lists show."""

    ttl: int | None = None
    labels: Mapping[str, str] = {}
    system_instruction: str = ""
    default_model: str = ""
    parent: str = ""


class _Content(Struct):
    """What rarely changes and lists leave out."""

    metadata: Mapping[str, Any] = {}
    context: Mapping[str, ContextEntry] = {}


def _decoder(type_: type[T]) -> Callable[[bytes], T]:
    decode = msgspec.msgpack.Decoder(type_).decode

    def decoded(data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(DAMAGED) from error

    return decoded


encode: Final = msgspec.msgpack.Encoder().encode
_decode_summary: Final = _decoder(_Summary)
_decode_content: Final = _decoder(_Content)
_decode_messages: Final = _decoder(tuple[Message, ...])
turn_of: Final = _decoder(Turn)
receipt_of: Final = _decoder(Receipt)

NO_CONTENT: Final = encode(_Content())


def session_of(row: tuple[Any, ...], encoded_content: bytes) -> MCPSession:
    """The session of a row of :data:`SESSION_COLUMNS`."""
    summary = _decode_summary(row[14])
    content = _decode_content(encoded_content)
    return MCPSession(
        tenant=row[1],
        id=row[2],
        uid=row[3],
        create_time=row[4],
        update_time=row[5],
        etag=row[6],
        expire_time=row[7],
        message_count=row[8],
        fence=row[9],
        claim=None if row[10] is None else Claim(turn=row[10], owner=row[11], fence=row[12], expire_time=row[13]),
        ttl=summary.ttl,
        labels=summary.labels,
        system_instruction=summary.system_instruction,
        default_model=summary.default_model,
        parent=summary.parent,
        metadata=content.metadata,
        context=content.context,
    )


def hot_columns(session: MCPSession) -> tuple[Any, ...]:
    """The columns that a turn changes."""
    end = session.expire_time
    claim = session.claim
    claimed: tuple[Any, ...] = (None, None, None, None)
    if claim is not None:
        claimed = (claim.turn, claim.owner, claim.fence, claim.expire_time)
        # A session does not expire under a turn that runs.
        end = None if end is None else max(end, claim.expire_time)
    return (
        session.update_time,
        session.etag,
        session.expire_time,
        end,
        session.message_count,
        session.fence,
        *claimed,
    )


def summary_of(session: MCPSession) -> bytes:
    """What rarely changes and lists show."""
    return encode(
        _Summary(
            ttl=session.ttl,
            labels=session.labels,
            system_instruction=session.system_instruction,
            default_model=session.default_model,
            parent=session.parent,
        )
    )


def content_of(session: MCPSession) -> bytes:
    """What rarely changes and lists leave out."""
    return encode(_Content(metadata=session.metadata, context=session.context))


def own_messages(session: int) -> Range:
    """All messages that the session with this key wrote."""
    return session << _INDEX_BITS, (session + 1) << _INDEX_BITS


def history(session: int, segments: Sequence[Segment], start: int, stop: int) -> Sequence[Range]:
    """The messages with ``start <= index < stop`` of a session, whose first ones are the ``segments``; in order."""
    ranges: list[Range] = []
    for writer, end in (*segments, (session, stop)):
        end = min(end, stop)
        if start < end:
            first = writer << _INDEX_BITS
            ranges.append((first + start, first + end))
            start = end
    return ranges


def pieces(turn: int) -> Range:
    """The pieces of the log of the turn with this key."""
    return turn << _PIECE_BITS, (turn + 1) << _PIECE_BITS


def messages_of(bodies: Sequence[bytes]) -> tuple[Message, ...]:
    """The messages of their rows."""
    # One array of all of them is decoded faster than each alone: msgpack announces it by this byte and its length.
    return _decode_messages(b"\xdd" + len(bodies).to_bytes(4) + b"".join(bodies)) if bodies else ()
