"""Requests that cost most for their size: one field repeated over and over, for every field of a message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    key_pb2,
    model_pb2,
    session_pb2,
    turn_pb2,
    usage_pb2,
)

CONTRACT: Final = (chat_pb2, completion_pb2, embedding_pb2, key_pb2, model_pb2, session_pb2, turn_pb2, usage_pb2)
"""All files of the contract with services."""
METHODS: Final[list[MethodDescriptor]] = [
    method
    for file in CONTRACT
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.input_type.fields
]
"""All methods of the contract whose requests have fields."""

MAX_STEPS: Final = 5
"""How deep fields are looked for: as deep as the values of a JSON object in a session's context."""
_LENGTH: Final = 2
_SMALLEST: Final = {0: b"\x01", 1: bytes(8), _LENGTH: b"\x00", 5: bytes(4)}
"""The shortest value by wire type."""
Path = tuple[FieldDescriptor, ...]


def path_of(method: MethodDescriptor) -> str:
    """The path of a method, as gRPC calls it."""
    return f"/{method.containing_service.full_name}/{method.name}"


def fields(message: Descriptor, before: Path = ()) -> Iterator[Path]:
    """Every field of a message, of its fields, and so on."""
    for field in message.fields:
        path = (*before, field)
        yield path
        inner = field.message_type
        if inner is not None and len(path) < MAX_STEPS and inner not in [one.message_type for one in before]:
            yield from fields(inner, path)


def filled(path: Path, size: int) -> bytes:
    """A body of about ``size`` bytes that repeats the last field of ``path`` in one message."""
    tag, kind = _tag(path[-1])
    item = tag + _SMALLEST[kind]
    return _within(path[:-1], item * (size // len(item)))


def different(path: Path, size: int) -> bytes:
    """The same with a key of its own in each entry of a map."""
    tag, _ = _tag(path[-1])
    entries = [tag + b"\x08\x0a\x06%06x" % number for number in range(size // 10)]
    return _within(path[:-1], b"".join(entries))


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _within(outer: Sequence[FieldDescriptor], body: bytes) -> bytes:
    for field in reversed(outer):
        body = _tag(field)[0] + _varint(len(body)) + body
    return body


def _tag(field: FieldDescriptor) -> tuple[bytes, int]:
    if field.type in (field.TYPE_MESSAGE, field.TYPE_STRING, field.TYPE_BYTES):
        kind = _LENGTH
    else:
        kind = {field.TYPE_DOUBLE: 1, field.TYPE_FLOAT: 5}.get(field.type, 0)
    return _varint(field.number << 3 | kind), kind


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
