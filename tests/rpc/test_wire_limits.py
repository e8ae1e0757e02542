"""The walk over the bytes of a request reads them as protobuf does, and stops at a limit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.message import DecodeError

from contextprotocol.v1 import chat_pb2, generation_pb2, message_pb2, session_pb2
from mcp_server.api.wire_limits import LARGE, MAX_DEPTH, SMALL, check_fields, limits_of, parser, tags_of
from mcp_server.errors import InvalidArgument
from tests.wire import user

CHAT: Any = chat_pb2.ChatRequest.DESCRIPTOR
TAGS = tags_of(CHAT)


def accepts(body: bytes, most: int = 10_000) -> bool:
    try:
        check_fields(body, TAGS, most)
    except InvalidArgument:
        return False
    return True


def example() -> bytes:
    """A request with fields of every wire type, at several depths."""
    part = message_pb2.Part(tool_call=message_pb2.ToolCall(id="1", name="n"))
    request = chat_pb2.ChatRequest(
        session="sessions/tour",
        messages=[user("x" * 200), message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=[part])],
        config=generation_pb2.GenerationConfig(temperature=0.5, seed=-1, stop=["a", "b"]),
        after_sequence=2**31,
        timeout=duration_pb2.Duration(seconds=3, nanos=-1),
    )
    request.provider_options.update({"a": [1, {"b": None}], "c": "d"})
    return request.SerializeToString()


def test_every_field_is_counted() -> None:
    """At all depths, and no string is taken for a message."""
    body = chat_pb2.ChatRequest(messages=[user("\n\x02\n\x00" * 10)] * 2, model="m").SerializeToString()
    # Two messages, each with a role, a part and its text; and the model.
    assert accepts(body, 9)
    assert not accepts(body, 8)
    # What is tiny counts as one.
    assert accepts(chat_pb2.ChatRequest(messages=[user("b")] * 9).SerializeToString(), 9)


def test_what_protobuf_takes_is_taken() -> None:
    """Bytes that were changed, cut or repeated anywhere: never refused where protobuf takes them."""
    generator = random.Random(5)  # noqa: S311  # no secret
    body, taken = example(), 0
    for _ in range(20_000):
        changed = bytearray(body)
        for _ in range(generator.randrange(1, 4)):
            at = generator.randrange(len(changed))
            match generator.randrange(3):
                case 0:
                    changed[at] = generator.randrange(256)
                case 1:
                    del changed[at]
                case _:
                    changed[at:at] = changed[at : at + generator.randrange(20)]
        try:
            chat_pb2.ChatRequest.FromString(bytes(changed))
        except DecodeError:
            continue
        taken += 1
        assert accepts(bytes(changed)), bytes(changed)
    assert taken > 1000


@pytest.mark.parametrize(
    "body",
    [
        b"\x12",
        b"\x12\x05\x00",
        b"\x12\x12\x22\x20" + bytes(16),
        b"\x12\xff\xff\xff\xff\x0f",
        b"\x0e\x00",
        b"\x80",
        b"\xff" * 20 + b"\x00",
        b"\x09\x00",
        b"\x40" + b"\xff" * 11,
    ],
)
def test_bytes_that_are_no_message_are_invalid(body: bytes) -> None:
    """Cut off, reaching beyond their message, of an unknown wire type, or with a number that does not end."""
    with pytest.raises(InvalidArgument, match="cannot be decoded"):
        check_fields(body, TAGS, 100)


def test_messages_are_nested_as_deep_as_in_protobuf() -> None:
    """One level more is refused."""
    value = b""
    for _ in range(3 * MAX_DEPTH):
        value = b"\x32" + _size(value) + value  # Part.tool_result
        value = b"\x12" + _size(value) + value  # ToolResult.parts
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        check_fields(b"\x12" + _size(value) + b"\x22" + value[1:], tags_of(CHAT), 10_000)


def _size(value: bytes) -> bytes:
    size, encoded = len(value), bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([*encoded, size])


def test_limits_follow_from_what_a_request_carries() -> None:
    """Messages and JSON, or names; a service that the contract does not know has the most."""
    assert limits_of(CHAT) == LARGE
    small: Any = session_pb2.GetSessionRequest.DESCRIPTOR
    elsewhere: Any = struct_pb2.Struct.DESCRIPTOR
    assert limits_of(small) == SMALL
    assert limits_of(elsewhere) == LARGE


def test_what_is_small_is_parsed_at_once() -> None:
    """A parser returns what protobuf makes of a request."""
    assert parser(CHAT)(example()) == chat_pb2.ChatRequest.FromString(example())
