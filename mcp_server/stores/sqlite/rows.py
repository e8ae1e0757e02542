"""How values are encoded in rows, and which keys the rows of a session or turn have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from mcp_server.errors import StoreUnavailable
from mcp_server.values import (
    ContextEntry,
    Key,
    MCPSession,
    Message,
    Receipt,
    Struct,
    Turn,
)

T = TypeVar("T")

DAMAGED: Final = "the database file of the store is damaged: restore it from a backup"

_INDEX_BITS: Final = 32
_PIECE_BITS: Final = 24

Range = tuple[int, int]
"""Contiguous keys: the first, and the one after the last."""
Segment = tuple[int, int]
"""A part of a history: the key of the session that wrote it, and the index after its last message."""

SESSION_COLUMNS: Final = """
    s.key, s.tenant, s.id, s.uid, s.create_time, s.update_time, s.etag, s.expire_time, s.message_count, s.claim,
    s.creator, s.tokens, c.summary"""
"""What :func:`session_of` decodes, from the tables ``sessions`` and ``contents``."""


class _Summary(Struct):
    """The fields that rarely change and are listed."""

    ttl: int | None = None
    labels: Mapping[str, str] = {}
    system_instruction: str = ""
    default_model: str = ""
    parent: str = ""


class _Content(Struct):
    """The fields that rarely change and are not listed."""

    metadata: Mapping[str, Any] = {}
    context: Mapping[str, ContextEntry] = {}
    hidden_turns: tuple[str, ...] = ()


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
key_of: Final = _decoder(Key)

NO_CONTENT: Final = encode(_Content())


def session_of(row: tuple[Any, ...], encoded_content: bytes) -> MCPSession:
    """Decode a row of :data:`SESSION_COLUMNS`."""
    summary = _decode_summary(row[12])
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
        claim=row[9] or "",
        key=row[10],
        tokens=row[11],
        ttl=summary.ttl,
        labels=summary.labels,
        system_instruction=summary.system_instruction,
        default_model=summary.default_model,
        parent=summary.parent,
        metadata=content.metadata,
        context=content.context,
        hidden_turns=content.hidden_turns,
    )


def hot_columns(session: MCPSession) -> tuple[Any, ...]:
    """The columns that a turn changes: ``update_time``, ``etag``, ``expire_time``, ``end_time``, ``message_count``,
    ``claim`` and ``tokens``."""
    # A session does not expire while a turn has claimed it.
    end = None if session.claim else session.expire_time
    claim = session.claim or None
    return session.update_time, session.etag, session.expire_time, end, session.message_count, claim, session.tokens


def summary_of(session: MCPSession) -> bytes:
    """Encode the fields that rarely change and are listed."""
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
    """Encode the fields that rarely change and are not listed."""
    return encode(_Content(metadata=session.metadata, context=session.context, hidden_turns=session.hidden_turns))


def own_messages(session: int) -> Range:
    """The keys of all messages that a session has written itself."""
    return session << _INDEX_BITS, (session + 1) << _INDEX_BITS


def history(session: int, segments: Sequence[Segment], start: int, stop: int) -> Sequence[Range]:
    """The keys of the messages with ``start <= index < stop`` of a session that begins with ``segments``, in order."""
    ranges: list[Range] = []
    for writer, end in (*segments, (session, stop)):
        end = min(end, stop)
        if start < end:
            first = writer << _INDEX_BITS
            ranges.append((first + start, first + end))
            start = end
    return ranges


def first_segments(segments: Sequence[Segment], count: int) -> Sequence[Segment]:
    """The segments of the first ``count`` messages."""
    result: list[Segment] = []
    start = 0
    for writer, stop in segments:
        stop = min(stop, count)
        if start < stop:
            result.append((writer, stop))
            start = stop
    return result


def pieces(turn: int) -> Range:
    """The keys of the pieces of a turn's log."""
    return turn << _PIECE_BITS, (turn + 1) << _PIECE_BITS


def messages_of(bodies: Sequence[bytes]) -> tuple[Message, ...]:
    """Decode messages."""
    # One array decodes faster than its elements one by one. In msgpack this byte and the length begin an array.
    return _decode_messages(b"\xdd" + len(bodies).to_bytes(4) + b"".join(bodies)) if bodies else ()
