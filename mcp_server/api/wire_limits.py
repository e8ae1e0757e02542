"""How much a request may hold, judged on its bytes before protobuf builds anything of them.

A request of 16 MiB can hold millions of empty messages, which cost protobuf seconds and gigabytes. The walk reads the
wire format alone: it counts fields, skips strings by their length, and stops at the first one too many. So what it
costs depends on the limit, not on the size of the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from mcp_server.errors import InvalidArgument, Violation
from mcp_server.rules.limits import KIB, MIB

WALK_BYTES: Final = 64 * KIB
"""Requests up to this size are parsed at once: whatever they hold, they cost little."""
TINY_BYTES: Final = 16
"""Messages up to this size count as one field, whatever is in them: it is little, and there may be very many."""
MAX_DEPTH: Final = 100
"""Messages within messages, as in protobuf itself."""
_MAX_VARINT_BYTES: Final = 10
_MAX_TAG: Final = 2**32 - 1

Parse = Callable[[bytes], Message]


class WireLimits(NamedTuple):
    """What a request may hold."""

    size: int
    """Bytes."""
    fields: int
    """Fields at all depths together, those of repeated fields and maps each counted; a tiny message counts as one."""


LARGE: Final = WireLimits(16 * MIB, 20_000)
"""For requests with messages, and for those of services that are not part of the contract."""
SESSION: Final = WireLimits(2 * MIB, 90_000)
"""For all that a session may have: 1 MiB of JSON can be as many numbers."""
SMALL: Final = WireLimits(WALK_BYTES, 2_000)
"""For requests that carry names, numbers and labels."""
_PACKAGE: Final = "contextprotocol.v1"
_STANDARD: Final = "grpc."
_BY_REQUEST: Final[dict[str, WireLimits]] = {
    f"{_PACKAGE}.ChatRequest": LARGE,
    f"{_PACKAGE}.AppendMessagesRequest": LARGE,
    f"{_PACKAGE}.CountTokensRequest": LARGE,
    f"{_PACKAGE}.CreateSessionRequest": SESSION,
    f"{_PACKAGE}.UpdateSessionRequest": SESSION,
    f"{_PACKAGE}.CompleteRequest": WireLimits(16 * MIB, 2_000),
    f"{_PACKAGE}.EmbedRequest": WireLimits(16 * MIB, 4_000),
}
"""The requests of the contract that carry more than :data:`SMALL`. An embedding takes up to 2,048 texts."""


def limits_of(request: Descriptor) -> WireLimits:
    """The limits of a request by its message type."""
    known = _BY_REQUEST.get(request.full_name)
    if known is not None:
        return known
    return SMALL if request.full_name.startswith((f"{_PACKAGE}.", _STANDARD)) else LARGE


def parser(request: Descriptor) -> Parse:
    """Return what parses a request within its limits.

    The returned function raises :class:`~mcp_server.errors.InvalidArgument` for bytes that are no such message, and for
    a request that holds too much.
    """
    parse: Parse = GetMessageClass(request).FromString
    limits = limits_of(request)
    tags = tags_of(request)

    def within_limits(body: bytes) -> Message:
        if len(body) > WALK_BYTES:
            if len(body) > limits.size:
                raise _refused(f"the request has {len(body)} bytes: this method takes at most {limits.size}")
            check_fields(body, tags, limits.fields)
        try:
            return parse(body)
        except DecodeError as error:
            raise _refused(f"the request cannot be decoded: {error}; strings must be UTF-8") from None

    return within_limits


Tags = dict[int, Any]
"""By the tag of each field that is a message, the tags of that message."""


def tags_of(message: Descriptor, known: dict[str, Tags] | None = None) -> Tags:
    """The tags of a message; ``known`` has those of the messages that lead to it, which may contain themselves."""
    known = {} if known is None else known
    tags = known.get(message.full_name)
    if tags is None:
        tags = known[message.full_name] = {}
        for field in message.fields:
            if field.message_type is not None:
                tags[field.number << 3 | 2] = tags_of(field.message_type, known)
    return tags


def check_fields(body: bytes, tags: Tags, most: int) -> None:
    """Refuse a body with more than ``most`` fields, or with messages nested too deeply. Nothing is built of it.

    Raises:
        InvalidArgument: it has too many, is nested too deeply, or is not in the wire format.
    """
    position, end, left = 0, len(body), most
    outer: list[tuple[int, Tags]] = []
    try:
        while True:
            while position == end:
                if not outer:
                    return
                end, tags = outer.pop()
            if not left:
                raise _refused(
                    f"the request has more than {most} fields, counting each message, part, value and entry: "
                    "send less at once"
                )
            left -= 1
            tag = body[position]
            position += 1
            if tag > 127:
                tag, position = _varint(body, tag, position)
            kind = tag & 7
            if kind == 2:
                size = body[position]
                position += 1
                if size > 127:
                    size, position = _varint(body, size, position)
                if position + size > end:
                    raise _malformed()
                inner = tags.get(tag)
                if inner is None or size <= TINY_BYTES:
                    position += size
                else:
                    if len(outer) == MAX_DEPTH:
                        raise _refused(f"the request is nested too deeply: at most {MAX_DEPTH} messages")
                    outer.append((end, tags))
                    end, tags = position + size, inner
            elif kind == 0:
                value = body[position]
                position += 1
                if value > 127:
                    _, position = _varint(body, value, position)
            elif kind == 1:
                position += 8
            elif kind == 5:
                position += 4
            elif kind > 5:
                raise _malformed()
            # The rest begins or ends a group, an old form that no field of the contract has: what is in it is counted.
            if tag > _MAX_TAG or position > end:
                raise _malformed()
    except IndexError:
        raise _malformed() from None


def _varint(body: bytes, first: int, position: int) -> tuple[int, int]:
    """A number of several bytes, of which the first was read already, and the position behind it."""
    value, shift = first & 127, 7
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift == 7 * _MAX_VARINT_BYTES:
            raise _malformed()


def _malformed() -> InvalidArgument:
    return _refused("the request cannot be decoded: it is not in the protobuf wire format")


def _refused(problem: str) -> InvalidArgument:
    return InvalidArgument([Violation(field="", description=problem)])
