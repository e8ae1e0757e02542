"""The Connect protocol, byte for byte."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import pytest
from google.rpc import error_details_pb2

from contextprotocol.v1 import chat_pb2
from mcp_server.errors import BY_REASON, Overloaded
from mcp_server.interfaces import Finish
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from mcp_server.web.connect.failures import HTTP_STATUS
from tests.web.connect.client import CHAT, HELLO, STREAM, Client, envelope
from tests.web.servers import web_config
from tests.wire import text_of, user

SESSIONS = "/contextprotocol.v1.SessionService"


async def test_a_unary_call_is_plain_http(client: Client) -> None:
    """In JSON, as curl would send it."""
    response = await client.post(CHAT, HELLO)
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.json["completed"]["message"]["parts"] == [{"text": "hello there"}]
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_unary_call_in_protobuf(client: Client) -> None:
    """The bytes of gRPC, without its prefix."""
    request = chat_pb2.ChatRequest(messages=[user("hello there")])
    response = await client.post(CHAT, request.SerializeToString(), "application/proto")
    assert (response.status, response.headers["content-type"]) == (200, "application/proto")
    assert text_of(chat_pb2.ChatResponse.FromString(response.body).completed.message) == "hello there"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_parameters_and_case_of_the_content_type_do_not_matter(client: Client, content_type: str) -> None:
    """HTTP says so."""
    assert (await client.post(CHAT, HELLO, content_type)).status == 200


async def test_a_stream_is_messages_and_an_end(client: Client) -> None:
    """The events of the turn, each in an envelope, and no error."""
    response = await client.stream(connect_protocol_version="1")
    assert (response.status, response.headers["content-type"]) == (200, "application/connect+json")
    assert [next(key for key in event if key != "sequence") for event in response.messages] == [
        "started",
        "partStarted",
        "delta",
        "completed",
    ]
    assert response.end == {}


async def test_an_error_has_its_details(client: Client) -> None:
    """The types of google.rpc, in base64 and readable; HTTP's status fits the code."""
    request = {"name": "sessions/none"}
    response = await client.post(f"{SESSIONS}/GetSession", json.dumps(request).encode())
    assert (response.status, response.headers["content-type"]) == (404, "application/json")
    assert response.json["code"] == "not_found"
    info, resource = response.json["details"]
    assert (info["type"], info["debug"]["reason"]) == ("google.rpc.ErrorInfo", "SESSION_NOT_FOUND")
    found = error_details_pb2.ResourceInfo.FromString(base64.b64decode(resource["value"] + "=="))
    assert (resource["type"], found.resource_name) == ("google.rpc.ResourceInfo", "sessions/none")


async def test_an_error_of_a_stream_is_its_end(client: Client) -> None:
    """The HTTP status is 200 in any case, as the protocol has it."""
    response = await client.stream(b"{}")
    assert (response.status, response.messages) == (200, [])
    assert response.error["code"] == "invalid_argument"
    assert response.error["details"][1]["debug"]["fieldViolations"][0]["field"] == "messages"


async def test_callers_learn_when_to_send_the_request_again() -> None:
    """In the header that browsers and proxies read, in the details, and as gRPC's libraries have it."""
    script: list[Any] = [Overloaded("too much to do", retry_after=1.5)]
    async with (
        running(web_config(), providers={"echo": ScriptedProvider(script)}) as server,
        Client(server.web_address) as client,
    ):
        unary = await client.post(CHAT, HELLO.replace(b"{", b'{"model":"echo/scripted",', 1))
        streamed = await client.stream(HELLO.replace(b"{", b'{"model":"echo/scripted",', 1))
    assert (unary.status, unary.headers["retry-after"]) == (HTTP_STATUS[Overloaded.code], "2")
    assert unary.headers["grpc-retry-pushback-ms"] == "1500"
    assert streamed.end["metadata"] == {"grpc-retry-pushback-ms": ["1500"]}
    assert streamed.error["details"][-1]["debug"] == {"retryDelay": "1.500s"}


def test_every_reason_has_the_status_of_the_protocol() -> None:
    """The code decides, not our own HTTP status."""
    statuses = {reason: HTTP_STATUS[error.code] for reason, error in BY_REASON.items()}
    assert (statuses["SESSION_NOT_FOUND"], statuses["DRAINING"], statuses["BAD_CREDENTIALS"]) == (404, 503, 401)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/xml", "application/grpc", "application/json5"])
@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_other_content_types_are_refused(client: Client, path: str, content_type: str) -> None:
    """Pages of other origins can send some of them without being asked."""
    response = await client.post(path, HELLO, content_type)
    assert response.status == 415
    assert "application/grpc-web" in response.headers["accept-post"]


async def test_the_content_type_of_a_stream_is_not_that_of_a_unary_call(client: Client) -> None:
    """The two have other forms."""
    assert (await client.post(STREAM, HELLO)).status == 415
    assert (await client.post(CHAT, envelope(HELLO), "application/connect+json")).status == 415


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_verbs_are_refused(client: Client, verb: str) -> None:
    """With what would do."""
    response = await client.post(CHAT, verb=verb)
    assert (response.status, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/contextprotocol.v1.ChatService/Nope", "/contextprotocol.v1.Nope/Chat"])
async def test_unknown_methods_are_unimplemented(client: Client, path: str) -> None:
    """By the protocol's code, and by HTTP's status."""
    response = await client.post(path, HELLO)
    assert (response.status, response.json["code"]) == (404, "unimplemented")


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"connect_protocol_version": "2"}, "connect-protocol-version"),
        ({"connect_timeout_ms": "soon"}, "connect-timeout-ms"),
        ({"connect_timeout_ms": "-1"}, "connect-timeout-ms"),
        ({"connect_timeout_ms": "12345678901"}, "connect-timeout-ms"),
    ],
)
async def test_headers_that_mean_nothing_are_refused(client: Client, headers: dict[str, str], name: str) -> None:
    """The error names the header."""
    response = await client.post(CHAT, HELLO, **headers)
    assert (response.status, response.json["code"]) == (400, "invalid_argument")
    assert name in response.json["message"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "has no request"),
        (envelope(HELLO)[:-1], "ends within a message"),
        (b"\0\0\0", "ends within a message"),
        (b"\0\xff\xff\xff\xff{}", "ends within a message"),
        (envelope(HELLO) * 2, "more than one message"),
        (envelope(HELLO, flags=2), "flags 0x2"),
        (envelope(HELLO, flags=128), "flags 0x80"),
    ],
)
async def test_a_stream_takes_one_whole_message(client: Client, body: bytes, problem: str) -> None:
    """Whatever else comes says what is wrong with it."""
    response = await client.post(STREAM, body, "application/connect+json")
    assert (response.status, response.error["code"]) == (200, "invalid_argument")
    assert problem in response.error["message"]


# -- compression -------------------------------------------------------------------------------------------------------


async def test_requests_may_be_compressed(client: Client) -> None:
    """As a whole, or message by message."""
    unary = await client.post(CHAT, gzip.compress(HELLO), content_encoding="gzip")
    assert unary.json["completed"]["message"]["parts"] == [{"text": "hello there"}]
    for body in (envelope(gzip.compress(HELLO), flags=1), envelope(HELLO)):
        streamed = await client.post(STREAM, body, "application/connect+json", connect_content_encoding="gzip")
        assert streamed.end == {}


async def test_another_compression_is_refused(client: Client) -> None:
    """With the ones that would do."""
    unary = await client.post(CHAT, HELLO, content_encoding="zstd")
    assert (unary.json["code"], unary.headers["accept-encoding"]) == ("unimplemented", "gzip, identity")
    streamed = await client.stream(connect_content_encoding="br")
    assert streamed.error["code"] == "unimplemented"
    assert streamed.headers["connect-accept-encoding"] == "gzip, identity"


async def test_a_compressed_message_needs_a_header(client: Client) -> None:
    """By the protocol the code is ``internal``."""
    response = await client.post(STREAM, envelope(gzip.compress(HELLO), flags=1), "application/connect+json")
    assert response.error["code"] == "internal"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (gzip.compress(b" " * 2**20), "larger than 65536 bytes"),
        (HELLO, "not compressed by gzip"),
        (gzip.compress(HELLO)[:-9], "cut off"),
        (gzip.compress(HELLO) + b"more", "something follows"),
    ],
)
async def test_what_was_compressed_is_bounded_and_whole(body: bytes, problem: str) -> None:
    """No more than the limit is ever unpacked."""
    async with (
        running(web_config(max_body_bytes=65_536), providers={"echo": EchoProvider()}) as server,
        Client(server.web_address) as client,
    ):
        response = await client.post(CHAT, body, content_encoding="gzip")
    assert response.json["code"] == "invalid_argument"
    assert problem in response.json["message"]


# -- deadlines and callers that leave ----------------------------------------------------------------------------------


async def test_a_deadline_ends_only_its_own_call() -> None:
    """The turn goes on for others, as with gRPC."""
    gate = Gate()
    provider = ScriptedProvider(["one", gate, " two", Finish()])
    continued = HELLO.replace(b"{", b'{"model":"echo/scripted","onDisconnect":"ON_DISCONNECT_CONTINUE",', 1)
    async with (
        running(web_config(), providers={"echo": provider}) as server,
        Client(server.web_address) as client,
    ):
        late = await client.stream(continued, connect_timeout_ms="300")
        assert late.error["code"] == "deadline_exceeded"
        turn = late.messages[0]["started"]["turn"]
        gate.open()
        again = await client.stream(json.dumps({"name": turn}).encode(), "/contextprotocol.v1.TurnService/StreamTurn")
        got = await client.post("/contextprotocol.v1.TurnService/GetTurn", json.dumps({"name": turn}).encode())
    assert again.messages[-1]["completed"]["message"]["parts"] == [{"text": "one two"}]
    assert got.json["state"] == "TURN_STATE_SUCCEEDED"


async def test_a_unary_deadline_has_its_http_status() -> None:
    """504, and the turn is stopped when its grace is over."""
    provider = ScriptedProvider(["one", Gate(), Finish()])
    body = HELLO.replace(b"{", b'{"model":"echo/scripted","onDisconnect":"ON_DISCONNECT_CANCEL",', 1)
    async with (
        running(web_config(), providers={"echo": provider}) as server,
        Client(server.web_address) as client,
    ):
        response = await client.post(CHAT, body, connect_timeout_ms="200")
        await provider.stopped.wait()
    assert (response.status, response.json["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("policy", ["CANCEL", "CONTINUE"])
async def test_a_caller_that_leaves_leaves_the_turn_to_its_policy(policy: str) -> None:
    """``on_disconnect`` decides, as for readers over gRPC."""
    gate = Gate()
    provider = ScriptedProvider(["one", gate, " two", Finish()])
    body = HELLO.replace(b"{", f'{{"model":"echo/scripted","onDisconnect":"ON_DISCONNECT_{policy}",'.encode(), 1)
    async with (
        running(web_config(), providers={"echo": provider}) as server,
        Client(server.web_address) as client,
        asyncio.timeout(20),
    ):
        headers = {"content-type": "application/connect+json"}
        async with client.http.post(client.base + STREAM, data=envelope(body), headers=headers) as response:
            prefix = await response.content.readexactly(5)
            first = json.loads(await response.content.readexactly(int.from_bytes(prefix[1:], "big")))
            await gate.reached.wait()
            response.close()
        if policy == "CANCEL":
            await provider.stopped.wait()
        gate.open()
        read = await client.stream(
            json.dumps({"name": first["started"]["turn"]}).encode(), "/contextprotocol.v1.TurnService/StreamTurn"
        )
    assert ("error" in read.end) == (policy == "CANCEL")


async def test_health_is_served_too(client: Client) -> None:
    """For load balancers that speak JSON, without credentials."""
    response = await client.post("/grpc.health.v1.Health/Check", b"{}")
    assert response.json == {"status": "SERVING"}
    unknown = await client.post("/grpc.health.v1.Health/Check", b'{"service":"none"}')
    assert (unknown.status, unknown.json["code"]) == (404, "not_found")
