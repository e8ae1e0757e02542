"""What a request costs depends on the limits of its method, never on how much somebody packs into it."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor import MethodDescriptor

from contextprotocol.v1 import (
    chat_pb2,
    context_pb2,
    embedding_pb2,
    generation_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
)
from mcp_server.api.conversions import has_many_values
from mcp_server.values import ContextEntry, MCPSession
from tests.costly import METHODS, different, fields, filled, is_map, path_of
from tests.wire import Refused, Wire, user

KIB: Final = 1024
MIB: Final = 1024 * KIB
LARGEST: Final = 16 * MIB - 100
LONGEST_STEP: Final = 0.5
"""Seconds that the event loop may work without a pause, its caller's part included; it was up to 50."""
MEMORY: Final = 250 * MIB
"""What the largest requests may take; it was seven times as much for one."""


@asynccontextmanager
async def responsive(longest_step: float = LONGEST_STEP) -> AsyncIterator[None]:
    """Fails if the event loop, which the server and its caller share here, was blocked for long."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            begin = time.thread_time()  # other processes do not count
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - begin)

    gc.collect()
    gc.disable()  # a collection takes as long as the tests before have left objects
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        gc.enable()
    assert longest < longest_step


async def answered(wire: Wire, method: MethodDescriptor, body: bytes) -> grpc.StatusCode:
    """The status that the call ends with; what it returns does not matter."""
    kind: Any = wire.channel.unary_stream if method.server_streaming else wire.channel.unary_unary
    call = kind(path_of(method))(body)
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            assert error.trailing_metadata(), error
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
async def test_every_field_repeated_without_end_is_answered_at_once(wire: Wire, method: MethodDescriptor) -> None:
    """In small requests and in the largest: no INTERNAL, no blocked server, no memory for each of the fields."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    statuses = set()
    async with responsive():
        for path in fields(method.input_type):
            bodies = [filled(path, 64 * KIB - 100), filled(path, MIB)]
            if len(path) == 1:
                bodies.append(filled(path, LARGEST))
            if is_map(path[-1]):
                bodies += [different(path, 64 * KIB - 100), different(path, MIB)]
            for body in bodies:
                statuses.add(await answered(wire, method, body))
    assert grpc.StatusCode.INVALID_ARGUMENT in statuses
    assert statuses <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB - before < MEMORY


async def test_millions_of_messages_in_few_bytes_are_refused_by_their_number(wire: Wire) -> None:
    """Compressed they are 16 kB, and are judged unpacked."""
    ask: Any = wire.channel.unary_unary("/contextprotocol.v1.ChatService/Chat")
    async with responsive():
        with Refused() as refused:
            await ask(b"\x12\x00" * (8 * MIB - 100), compression=grpc.Compression.Gzip)
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [""])
    assert "more than 20000 fields" in refused.violations[""]


async def test_a_compressed_request_is_limited_by_its_size_unpacked(wire: Wire) -> None:
    """A bomb is refused before it takes memory, and the connection lives on."""
    ask: Any = wire.channel.unary_unary("/contextprotocol.v1.ChatService/Chat")
    with Refused() as refused:
        await ask(bytes(64 * MIB), compression=grpc.Compression.Gzip)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await wire.create()


async def test_a_method_that_carries_little_takes_little(wire: Wire) -> None:
    """A name of a megabyte is refused before it is parsed."""
    with Refused() as refused:
        await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/" + "a" * MIB))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 65536" in refused.violations[""]


async def test_large_requests_within_the_limits_are_carried_out(wire: Wire) -> None:
    """A thousand messages, and two thousand texts."""
    await wire.create()
    append = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("x" * 500)] * 1000)
    await wire.sessions.AppendMessages(append)
    assert (await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))).message_count == 1000
    embed = embedding_pb2.EmbedRequest(inputs=["word " * 10] * 2048, model="echo/echo")
    assert len((await wire.embedding.Embed(embed)).embeddings) == 2048


def nested(depth: int) -> bytes:
    """A chat whose provider options are nested so deep."""
    value = b""
    for _ in range(depth):
        value = _field(5, _field(1, _field(2, value)))
    return _field(14, _field(1, _field(1, b"k") + _field(2, value)))


def _field(number: int, value: bytes) -> bytes:
    size, encoded = len(value), bytearray()
    while size > 127:
        encoded.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *encoded, size]) + value


@pytest.mark.parametrize("depth", [100, 1000, 10_000])
async def test_values_within_values_without_end_are_invalid(wire: Wire, depth: int) -> None:
    """Whether the walk refuses them or protobuf itself."""
    ask: Any = wire.channel.unary_unary("/contextprotocol.v1.ChatService/Chat")
    with Refused() as refused:
        await ask(nested(depth))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def chat(**more: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=[user("x")], **more)


def schema(text: str) -> generation_pb2.GenerationConfig:
    wanted = generation_pb2.JsonSchemaFormat(schema_json=text)
    return generation_pb2.GenerationConfig(response_format=generation_pb2.ResponseFormat(json_schema=wanted))


@pytest.mark.parametrize("text", ['{"a":' * 1000 + "1" + "}" * 1000, '{"a":' + "[" * 60_000, '{"a' + '\\"' * 30_000])
async def test_a_schema_nested_without_end_is_invalid(wire: Wire, text: str) -> None:
    """It is the caller's error and names the field, for the answer and for tools."""
    tool = generation_pb2.Tool(name="t", parameters_json=text)
    async with responsive():
        with Refused() as refused:
            await wire.chat.Chat(chat(config=schema(text), tools=[tool]))
    assert set(refused.violations) == {
        "config.response_format.json_schema.schema_json",
        "tools[0].parameters_json",
    }


async def test_a_megabyte_of_json_does_not_hold_the_event_loop_up(wire: Wire) -> None:
    """A thread converts it, on its way in and on its way out; each took a tenth of a second."""
    numbers = struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)] * 85_000)
    create = json_session(struct_pb2.Value(list_value=numbers))
    entry = create.session.context["a"]
    create.session_id = "large"
    update = session_pb2.UpdateSessionRequest(
        session=session_pb2.Session(name="sessions/large"), set_context={"a": entry}
    )
    calls = {
        "CreateSession": create,
        "GetSession": session_pb2.GetSessionRequest(name="sessions/large"),
        "UpdateSession": update,
        "ForkSession": session_pb2.ForkSessionRequest(name="sessions/large"),
        "RewindSession": session_pb2.RewindSessionRequest(name="sessions/large", message_count=0),
    }
    for name, request in calls.items():
        body = request.SerializeToString()
        call: Any = wire.channel.unary_unary(f"/contextprotocol.v1.SessionService/{name}")
        async with responsive(0.25):
            answer = await call(body)
        assert len(session_pb2.Session.FromString(answer).context["a"].json.list_value.values) == 85_000


async def test_a_page_of_many_parts_is_converted_in_pieces(wire: Wire) -> None:
    """The event loop gets its turn between the messages of a page."""
    await wire.create()
    message = message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="x")] * 1000)
    for _ in range(3):
        await wire.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[message] * 16)
        )
    call: Any = wire.channel.unary_unary("/contextprotocol.v1.SessionService/ListMessages")
    async with responsive(0.25):
        answer = await call(session_pb2.ListMessagesRequest(parent="sessions/tour").SerializeToString())
    assert len(session_pb2.ListMessagesResponse.FromString(answer).messages) == 48


@pytest.mark.parametrize(
    ("value", "large"),
    [([0] * 2_000, False), ([0] * 2_001, True), ([[[0]]] * 667, True), ({"a": {"b": "x" * 100_000}}, False)],
)
def test_json_is_large_by_the_number_of_its_values(value: Any, large: bool) -> None:
    """Long texts are copied at once."""
    session = MCPSession(
        tenant="t",
        id="a",
        uid="u",
        create_time=0,
        update_time=0,
        etag="",
        context={"a": ContextEntry(type="json", kind="json", json=value)},
    )
    assert has_many_values(session) == large


def json_session(value: struct_pb2.Value) -> session_pb2.CreateSessionRequest:
    entry = context_pb2.ContextEntry(type="json", json=value)
    return session_pb2.CreateSessionRequest(session=session_pb2.Session(context={"a": entry}))


@pytest.mark.parametrize("item", [struct_pb2.Value(bool_value=True), struct_pb2.Value()])
async def test_a_long_key_above_many_values_costs_no_copies(wire: Wire, item: struct_pb2.Value) -> None:
    """Paths are written out only for what is wrong, and the key in them is cut."""
    items = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[item] * 9000))
    value = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"k" * 900_000: items}))
    async with responsive():
        if item.WhichOneof("kind") is not None:
            assert (await wire.sessions.CreateSession(json_session(value))).name
            return
        with Refused() as refused:
            await wire.sessions.CreateSession(json_session(value))
    assert f"session.context['a'].json.{'k' * 80}[0]" in refused.violations
    assert "more" in refused.violations[""]


COUNTED: list[tuple[Callable[[Wire], Awaitable[Any]], str, str]] = [
    (lambda w: w.chat.Chat(chat_pb2.ChatRequest(messages=[user("x")] * 1001)), "messages", "1001"),
    (
        lambda w: w.chat.Chat(
            chat_pb2.ChatRequest(
                messages=[message_pb2.Message(role=message_pb2.ROLE_USER, parts=[message_pb2.Part(text="x")] * 1001)]
            )
        ),
        "messages[0].parts",
        "1001",
    ),
    (lambda w: w.chat.Chat(chat(tools=[generation_pb2.Tool(name="t")] * 129)), "tools", "129"),
    (
        lambda w: w.chat.Chat(
            chat(tools=[generation_pb2.Tool(name=f"t{n}", parameters_json="{" + " " * 60_000 + "}") for n in range(18)])
        ),
        "tools",
        "1048576",
    ),
    (lambda w: w.chat.Chat(chat(config=generation_pb2.GenerationConfig(stop=["x"] * 17))), "config.stop", "17"),
    (lambda w: w.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["x"] * 2049)), "inputs", "2049"),
    (lambda w: w.create("b", labels={f"k{n}": "" for n in range(65)}), "session.labels", "65"),
    (
        lambda w: w.create("b", context={f"k{n}": context_pb2.ContextEntry() for n in range(257)}),
        "session.context",
        "257",
    ),
    (
        lambda w: w.create(
            "b", context={f"k{n}": context_pb2.ContextEntry(type="text", text="x" * 600_000) for n in range(2)}
        ),
        "session.context",
        "1048576",
    ),
    (
        lambda w: w.sessions.ListSessions(session_pb2.ListSessionsRequest(labels={f"k{n}": "" for n in range(65)})),
        "labels",
        "65",
    ),
    (lambda w: update(w, update_mask={"paths": ["nothing"] * 101}), "update_mask", "101"),
    (lambda w: update(w, remove_context=["a b"] * 257), "remove_context", "257"),
    (
        lambda w: update(w, set_context={f"k{n}": context_pb2.ContextEntry() for n in range(257)}),
        "set_context",
        "257",
    ),
    (lambda w: w.chat.Chat(chat(session="sessions/tour", etag="e" * 5000)), "etag", "4096"),
]


def update(wire: Wire, **more: Any) -> Awaitable[Any]:
    request = session_pb2.UpdateSessionRequest(session=session_pb2.Session(name="sessions/tour"), **more)
    updated: Awaitable[Any] = wire.sessions.UpdateSession(request)
    return updated


@pytest.mark.parametrize(("call", "field", "number"), COUNTED, ids=[f"{case[1]}-{case[2]}" for case in COUNTED])
async def test_what_is_too_many_is_refused_by_its_number_alone(
    wire: Wire, call: Callable[[Wire], Awaitable[Any]], field: str, number: str
) -> None:
    """One violation, which says how many there were or may be; none for each of them."""
    with Refused() as refused:
        await call(wire)
    assert list(refused.violations) == [field]
    assert number in refused.violations[field]


@pytest.mark.parametrize("name", ["m" * 257, "echo/\x1b[2J", "echo/a\u2028b", "echo/\x7f"])
async def test_names_of_models_are_short_and_printable(wire: Wire, name: str) -> None:
    """Wherever callers send one: it ends up in logs and on terminals."""
    for call in (
        lambda: wire.chat.Chat(chat(model=name)),
        lambda: wire.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["x"], model=name)),
        lambda: wire.create("b", default_model=name),
        lambda: wire.models.GetModel(model_pb2.GetModelRequest(name=f"models/{name}")),
    ):
        with Refused() as refused:
            await call()
        (problem,) = refused.violations.values()
        assert ("at most 256 characters" if len(name) > 256 else "control characters") in problem
