"""Requests in JSON: what is ignored, what is refused, and where."""

from __future__ import annotations

import json

import pytest

from mcp_server.api.wire_limits import LARGE, SMALL
from tests.web.connect.client import CHAT, HELLO, Client

CREATE = "/contextprotocol.v1.SessionService/CreateSession"
GET = "/contextprotocol.v1.SessionService/GetSession"


async def test_names_may_be_those_of_protobuf_and_unknown_fields_are_ignored(client: Client) -> None:
    """A newer page can call an older server."""
    response = await client.post(CREATE, b'{"session_id":"tour","newer":{"a":[1]},"session":{"later":null}}')
    assert response.json["name"] == "sessions/tour"


async def test_numbers_of_64_bits_may_be_numbers_or_strings(client: Client) -> None:
    """As in ProtoJSON; an answer has strings."""
    usage = (await client.post(CHAT, HELLO)).json["completed"]["usage"]
    assert usage["inputTokens"] == "2"
    for value in (0, "0"):
        entry = {"role": "ROLE_ASSISTANT", "parts": [{"text": "hi"}], "usage": {"inputTokens": value}}
        body = {"messages": [entry, {"role": "ROLE_USER", "parts": [{"text": "hello"}]}]}
        response = await client.post(CHAT, json.dumps(body).encode())
        assert response.status == 200, response.json


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"messages":[{"parts":[{"text":5}]}]}', "messages.parts.text"),
        (b'{"messages":[{"parts":5}]}', "messages[0].parts"),
        (b'{"messages":"x"}', "messages"),
        (b'{"messages":[null]}', "messages[0]"),
        (b'{"session":{}}', "session"),
    ],
)
async def test_a_wrong_type_is_named(client: Client, body: bytes, field: str) -> None:
    """In the error's details, as every invalid field."""
    response = await client.post(CHAT, body)
    assert (response.status, response.json["code"]) == (400, "invalid_argument")
    (violation,) = response.json["details"][1]["debug"]["fieldViolations"]
    assert violation["field"] == field, violation


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b"{",
        b"{]",
        b'{"a":1}}',
        b'{"messages":NaN}',
        b"\xff",
        b'{"a":"\xff"}',
        b'{"sessionId":"\\ud800"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"session":{"metadata":' + b'{"a":' * 200 + b"1" + b"}" * 202,
        b'{"session":{"metadata":{"a":1e999}}}',
        b'{"session":{"metadata":{"a":' + b"9" * 400 + b"}}}",
        b'{"session":{"metadata":{"a":' + b"9" * 5_000 + b"}}}",
    ],
)
async def test_what_is_no_such_message_is_refused(client: Client, body: bytes) -> None:
    """Whatever it is, it is the caller's error."""
    response = await client.post(CREATE, body)
    assert (response.status, response.json["code"]) == (400, "invalid_argument"), response


async def test_an_empty_body_is_an_empty_message(client: Client) -> None:
    """As in protobuf."""
    assert (await client.post("/contextprotocol.v1.ModelService/ListModels")).status == 200


async def test_a_small_request_has_a_small_limit(client: Client) -> None:
    """By the limits of the wire format."""
    most = SMALL.size
    response = await client.post(GET, json.dumps({"name": "x" * most}).encode())
    assert f"at most {most}" in response.json["message"]


async def test_as_many_values_as_in_the_wire_format(client: Client) -> None:
    """Text does not count, whatever is in it; nothing is built of what is refused."""
    most = LARGE.fields
    text = ',{"[\\"\\\\' * 20_000 + "\\"
    response = await client.post(
        CHAT, json.dumps({"messages": [{"role": "ROLE_USER", "parts": [{"text": text}]}]}).encode()
    )
    assert response.status == 200, response.json
    many = b'{"messages":[' + b",".join([b'{"id":0}'] * most) + b"]}"
    strings = b'{"messages":[' + b'""' * (3 * most) + b",0" * (most + 1) + b"]}"
    for body in (many, strings):
        response = await client.post(CHAT, body)
        assert f"more than {most} JSON values" in response.json["message"]


async def test_a_large_answer_is_converted_too(client: Client) -> None:
    """Off the event loop."""
    body = {"sessionId": "tour", "session": {"context": {"a": {"type": "text", "text": "é" * 100_000}}}}
    response = await client.post(CREATE, json.dumps(body).encode())
    assert response.status == 200, response.json
    assert len((await client.post(GET, b'{"name":"sessions/tour"}')).json["context"]["a"]["text"]) == 100_000
