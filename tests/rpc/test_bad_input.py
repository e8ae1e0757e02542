"""Whatever a caller sends: a clear answer, nothing lost, nobody else disturbed."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, struct_pb2

from contextprotocol.v1 import (
    chat_pb2,
    completion_pb2,
    embedding_pb2,
    generation_pb2,
    message_pb2,
    model_pb2,
    session_pb2,
)
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, text_of, user

Message = message_pb2.Message
Part = message_pb2.Part
Config = generation_pb2.GenerationConfig


def number(value: float) -> struct_pb2.Struct:
    return struct_pb2.Struct(fields={"x": struct_pb2.Value(number_value=value)})


CHATS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": [user("")]}, "messages[0].parts[0].text"),
    ({"messages": [user("x")] * 1001}, "messages"),
    ({"messages": [Message(role=message_pb2.ROLE_USER)]}, "messages[0].parts"),
    ({"messages": [Message(parts=[Part(text="x")])]}, "messages[0].role"),
    ({"messages": [Message(role=99, parts=[Part(text="x")])]}, "messages[0].role"),  # type: ignore[arg-type]  # an unknown value
    ({"messages": [Message(role=message_pb2.ROLE_USER, parts=[Part()])]}, "messages[0].parts[0]"),
    ({"messages": [Message(role=message_pb2.ROLE_USER, parts=[Part(reasoning="x")])]}, "messages[0].parts[0]"),
    ({"messages": [Message(role=message_pb2.ROLE_ASSISTANT, parts=[Part(text="x")])]}, "messages[0].role"),
    ({"messages": [Message(role=message_pb2.ROLE_USER, parts=[Part(text="x")], name="n" * 65)]}, "messages[0].name"),
    ({"messages": [user("x" * (3 * 1024 * 1024 + 1))]}, "messages[0]"),
    (
        {
            "messages": [
                Message(role=message_pb2.ROLE_USER, parts=[Part(blob=message_pb2.Blob(mime_type="png", data=b"x"))])
            ]
        },
        "messages[0].parts[0].blob.mime_type",
    ),
    (
        {
            "messages": [
                Message(
                    role=message_pb2.ROLE_USER,
                    parts=[Part(blob=message_pb2.Blob(mime_type="image/png", uri="file:///etc/passwd"))],
                )
            ]
        },
        "messages[0].parts[0].blob.uri",
    ),
    ({"session": "tour"}, "session"),
    ({"session": "sessions/"}, "session"),
    ({"session": "sessions/UPPER"}, "session"),
    ({"session": "sessions/a/turns/b"}, "session"),
    ({"session": "models/echo"}, "session"),
    ({"session": "sessions/" + "a" * 64}, "session"),
    ({"session": "sessions/tour\n"}, "session"),
    (
        {"session": "sessions/tour", "messages": [Message(role=message_pb2.ROLE_SYSTEM, parts=[Part(text="x")])]},
        "messages[0].role",
    ),
    ({"model": "m" * 257}, "model"),
    ({"etag": "x"}, "etag"),
    ({"config": Config(temperature=math.nan)}, "config.temperature"),
    ({"config": Config(temperature=-0.1)}, "config.temperature"),
    ({"config": Config(temperature=math.inf)}, "config.temperature"),
    ({"config": Config(top_p=0)}, "config.top_p"),
    ({"config": Config(top_p=1.5)}, "config.top_p"),
    ({"config": Config(max_output_tokens=0)}, "config.max_output_tokens"),
    ({"config": Config(max_output_tokens=-5)}, "config.max_output_tokens"),
    ({"config": Config(stop=["x"] * 17)}, "config.stop"),
    ({"config": Config(stop=[""])}, "config.stop[0]"),
    ({"config": Config(frequency_penalty=math.nan)}, "config.frequency_penalty"),
    ({"config": Config(presence_penalty=3)}, "config.presence_penalty"),
    ({"config": Config(logprobs=21)}, "config.logprobs"),
    ({"config": Config(response_format=generation_pb2.ResponseFormat())}, "config.response_format"),
    (
        {
            "config": Config(
                response_format=generation_pb2.ResponseFormat(
                    json_schema=generation_pb2.JsonSchemaFormat(schema_json="[1]")
                )
            )
        },
        "config.response_format.json_schema.schema_json",
    ),
    ({"timeout": duration_pb2.Duration(seconds=-1)}, "timeout"),
    ({"timeout": duration_pb2.Duration()}, "timeout"),
    ({"timeout": duration_pb2.Duration(seconds=10**11)}, "timeout"),
    ({"truncation": 77}, "truncation"),
    ({"if_busy": 77}, "if_busy"),
    ({"on_disconnect": 77}, "on_disconnect"),
    ({"provider_options": number(math.nan)}, "provider_options.x"),
    ({"provider_options": struct_pb2.Struct(fields={"x": struct_pb2.Value()})}, "provider_options.x"),
    (
        {"provider_options": struct_pb2.Struct(fields={"x": struct_pb2.Value(string_value="y" * 70_000)})},
        "provider_options",
    ),
]


@pytest.mark.parametrize(("fields", "where"), CHATS, ids=[where for _, where in CHATS])
async def test_a_bad_chat_is_refused_by_its_field(wire: Wire, fields: dict[str, Any], where: str) -> None:
    """The violation names the field, and the next call goes through."""
    await wire.create()
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(**{"messages": [user("x")], **fields}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert where in refused.violations
    assert refused.violations[where]
    assert await wire.history() == []
    await wire.say("x")


async def test_all_violations_come_at_once(wire: Wire) -> None:
    """A caller mends a request in one go."""
    with Refused() as refused:
        await wire.chat.Chat(
            chat_pb2.ChatRequest(
                session="x", messages=[user("")], config=Config(temperature=9, top_p=9), model="m" * 999
            )
        )
    assert set(refused.violations) == {
        "session",
        "messages[0].parts[0].text",
        "config.temperature",
        "config.top_p",
        "model",
    }


async def test_a_thousand_violations_still_fit_the_trailers(wire: Wire) -> None:
    """They are cut, and the cut is said; what is sent stays under 6 kB."""
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("")] * 1000))
    assert "more" in refused.violations[""]
    assert len(refused.violations) > 5
    size = sum(len(key) + len(value) for key, value in refused.trailers.items())
    assert size * 4 / 3 + len(refused.details) < 6000


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda w: w.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="A")), "session_id"),
        (lambda w: w.sessions.CreateSession(session_pb2.CreateSessionRequest(session_id="-a")), "session_id"),
        (lambda w: w.create("a", ttl=duration_pb2.Duration(nanos=1)), "session.ttl"),
        (lambda w: w.create("a", ttl=duration_pb2.Duration(seconds=10**10)), "session.ttl"),
        (lambda w: w.create("a", labels={"Bad": "x"}), "session.labels['Bad']"),
        (lambda w: w.create("a", labels={"k": "x" * 129}), "session.labels['k']"),
        (lambda w: w.create("a", labels={f"k{n}": "x" for n in range(65)}), "session.labels"),
        (lambda w: w.create("a", metadata=number(math.inf)), "session.metadata.x"),
        (lambda w: w.create("a", system_instruction="x" * 300_000), "session.system_instruction"),
        (lambda w: w.sessions.ListSessions(session_pb2.ListSessionsRequest(page_size=-1)), "page_size"),
        (lambda w: w.sessions.GetSession(session_pb2.GetSessionRequest(name="turns/x")), "name"),
        (lambda w: w.sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent="sessions/a")), "messages"),
        (lambda w: w.completion.Complete(completion_pb2.CompleteRequest()), "prompt"),
        (lambda w: w.completion.Complete(completion_pb2.CompleteRequest(prompt="x", save_as="a b")), "save_as"),
        (
            lambda w: w.completion.Complete(completion_pb2.CompleteRequest(prompt="x", include_context=True)),
            "include_context",
        ),
        (lambda w: w.embedding.Embed(embedding_pb2.EmbedRequest()), "inputs"),
        (lambda w: w.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["a", ""])), "inputs[1]"),
        (lambda w: w.embedding.Embed(embedding_pb2.EmbedRequest(inputs=["a"], dimensions=0)), "dimensions"),
        (lambda w: w.models.GetModel(model_pb2.GetModelRequest(name="echo")), "name"),
    ],
)
async def test_every_service_names_the_bad_field(wire: Wire, call: Any, where: str) -> None:
    """No service takes what it cannot use."""
    with Refused() as refused:
        await call(wire)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert where in refused.violations


async def test_a_message_of_three_megabytes_is_taken_and_given_back(wire: Wire) -> None:
    """Up to the limit everything works, in every direction."""
    await wire.create()
    text = "é" * (3 * 512 * 1024 - 100)
    append = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user(text), user("b")])
    await wire.sessions.AppendMessages(append)
    listed = await wire.sessions.ListMessages(session_pb2.ListMessagesRequest(parent="sessions/tour"))
    assert text_of(listed.messages[0]) == text


async def test_a_request_of_ten_megabytes_is_answered(wire: Wire) -> None:
    """It is received, and refused by its field rather than by the transport."""
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("x" * 10_000_000)]))
    assert "messages[0]" in refused.violations


async def test_a_request_beyond_the_limit_of_the_transport_disturbs_nobody(wire: Wire) -> None:
    """gRPC itself refuses more than 16 MiB, and the connection lives on."""
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("x" * 17_000_000)]))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    await wire.create()


async def test_bytes_that_are_no_request_are_refused(wire: Wire) -> None:
    """Broken frames and strings that are not UTF-8 are INVALID_ARGUMENT, on unary calls and streams."""
    generator = random.Random(7)  # noqa: S311  # no secret
    bodies = [b"\xff\xff\xff", b"\x0a\x02\xc3\x28", *[generator.randbytes(50) for _ in range(20)]]
    for method, kind in (("Chat", wire.channel.unary_unary), ("StreamChat", wire.channel.unary_stream)):
        raw: Any = kind(f"/contextprotocol.v1.ChatService/{method}")
        for body in bodies:
            call = raw(body)
            with Refused() as refused:
                await (call if method == "Chat" else call.read())
            assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, body
    await wire.create()


async def test_an_unknown_method_is_unimplemented(wire: Wire) -> None:
    """So is an unknown service."""
    for path in ("/contextprotocol.v1.ChatService/Sing", "/no.Such/Thing"):
        raw: Any = wire.channel.unary_unary(path)
        with Refused() as refused:
            await raw(b"")
        assert refused.code == grpc.StatusCode.UNIMPLEMENTED


async def test_fields_of_a_newer_contract_are_passed_over(wire: Wire) -> None:
    """Unknown field numbers are no error: the contract only grows."""
    body = chat_pb2.ChatRequest(messages=[user("hi")]).SerializeToString() + b"\xfa\x3e\x03abc"
    raw: Any = wire.channel.unary_unary("/contextprotocol.v1.ChatService/Chat")
    response = chat_pb2.ChatResponse.FromString(await raw(body))
    assert text_of(response.completed.message) == "hi"


async def test_a_deadline_of_the_caller_ends_the_call(serve: Serve) -> None:
    """Its turn is stopped with it, and the server goes on."""
    provider = ScriptedProvider([Gate()])
    wire = await serve(providers={"scripted": provider})
    with Refused() as refused:
        request = chat_pb2.ChatRequest(messages=[user("hi")], on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL)
        await wire.chat.Chat(request, timeout=0.05)
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    await wire.server.idle()
    assert provider.active == 0
    await wire.create()


async def test_callers_that_come_and_go_leave_nothing_behind(wire: Wire) -> None:
    """A hundred calls cancelled at any moment: no turn, and no claim, outlives them."""
    await wire.create()
    generator = random.Random(11)  # noqa: S311  # no secret
    for _ in range(100):
        stream = wire.chat.StreamChat(chat_pb2.ChatRequest(session="sessions/tour", messages=[user("a b c")]))
        for _ in range(generator.randrange(4)):
            await asyncio.sleep(0)
        if generator.random() < 0.5:
            await stream.read()
        stream.cancel()
    await wire.server.idle()
    await wire.say("still here")
    history = await wire.history(page_size=1000)
    assert len(history) % 2 == 0
    assert history[-1] == ("ASSISTANT", "still here")
