"""The call that is shown for a failure holds nothing that does not matter for it."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from contextprotocol.v1 import chat_pb2, generation_pb2
from tests.fuzz.requests import Request
from tests.fuzz.shrink import smallest
from tests.wire import user

PATH = "/contextprotocol.v1.ChatService/Chat"


async def test_what_does_not_matter_is_left_out() -> None:
    """Fields at any depth, entries of lists and maps."""
    chat = chat_pb2.ChatRequest(messages=[user("a"), user("b"), user("c")], labels={"k": "v", "l": "w"}, model="m")
    chat.tools.add(name="t", description="d")
    chat.config.CopyFrom(generation_pb2.GenerationConfig(stop=["x", "y"], seed=3))

    async def fails(request: Request) -> bool:
        try:
            sent = chat_pb2.ChatRequest.FromString(request.body)
        except DecodeError:
            return False
        return any(tool.description == "d" for tool in sent.tools) and "y" in sent.config.stop and "l" in sent.labels

    least = await smallest(Request(PATH, chat.SerializeToString(), ()), fails)
    sent = chat_pb2.ChatRequest.FromString(least.body)
    assert {field.name for field, _ in sent.ListFields()} == {"labels", "tools", "config"}
    assert (list(sent.labels), list(sent.tools), sent.config) == (
        ["l"],
        [generation_pb2.Tool(description="d")],
        generation_pb2.GenerationConfig(stop=["y"]),
    )


async def test_bytes_that_cannot_be_parsed_get_fewer_too() -> None:
    """One by one in the end."""

    async def fails(request: Request) -> bool:
        return b"\xff" in request.body

    least = await smallest(Request(PATH, b"\x0a\x80" * 20 + b"\xff" + b"\x01" * 30, ()), fails)
    assert least.body == b"\xff"
    assert str(least) == f"{PATH} /w=="
