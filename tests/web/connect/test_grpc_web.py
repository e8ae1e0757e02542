"""gRPC-Web, byte for byte."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import pytest
from google.rpc import status_pb2

from contextprotocol.v1 import chat_pb2, session_pb2, turn_pb2
from tests.web.connect.client import CHAT, HELLO, STREAM, Client, Response, envelope, envelopes
from tests.wire import text_of, user

WEB = "application/grpc-web+proto"
TEXT = "application/grpc-web-text"
REQUEST = envelope(chat_pb2.ChatRequest(messages=[user("hello there")]).SerializeToString())


def answers(response: Response) -> list[bytes]:
    """The messages, after which the call has succeeded."""
    assert response.status == 200, response
    assert response.trailers == {"grpc-status": "0"}, response
    return [data for _, data in envelopes(response.body)[:-1]]


def texts(response: Response) -> Response:
    """The same, decoded: every piece is padded by itself."""
    pieces = [piece + b"=" * (-len(piece) % 4) for piece in response.body.replace(b"=", b" ").split()]
    return response._replace(body=b"".join(base64.b64decode(piece, validate=True) for piece in pieces))


@pytest.mark.parametrize("content_type", ["application/grpc-web", WEB])
async def test_a_unary_call(client: Client, content_type: str) -> None:
    """One message, and the trailers of gRPC behind it."""
    response = await client.post(CHAT, REQUEST, content_type, x_grpc_web="1")
    assert response.headers["content-type"] == WEB
    (answer,) = answers(response)
    assert text_of(chat_pb2.ChatResponse.FromString(answer).completed.message) == "hello there"


async def test_a_stream(client: Client) -> None:
    """The events of the turn."""
    events = [turn_pb2.TurnEvent.FromString(data) for data in answers(await client.post(STREAM, REQUEST, WEB))]
    assert [event.WhichOneof("event") for event in events] == ["started", "part_started", "delta", "completed"]


async def test_messages_in_json(client: Client) -> None:
    """As their content type says."""
    response = await client.post(CHAT, envelope(HELLO), "application/grpc-web+json")
    assert response.headers["content-type"] == "application/grpc-web+json"
    assert b'"completed"' in answers(response)[0]


@pytest.mark.parametrize("path", [CHAT, STREAM])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_messages_in_base64(client: Client, path: str, pieces: int) -> None:
    """In one piece, or in several that are each padded: for browsers that stream only text."""
    half = len(REQUEST) // 2
    half -= half % 3 - 1  # so that the first piece is padded
    parts = [REQUEST] if pieces == 1 else [REQUEST[:half], REQUEST[half:]]
    response = await client.post(path, b"".join(base64.b64encode(part) for part in parts), TEXT)
    assert response.headers["content-type"] == "application/grpc-web-text+proto"
    *_, last = answers(texts(response))
    completed = (chat_pb2.ChatResponse if path == CHAT else turn_pb2.TurnEvent).FromString(last).completed
    assert text_of(completed.message) == "hello there"


@pytest.mark.parametrize("body", [b"AAAA A", b"AAA", b"A===", b"=", b"AA*A", b"AAAAA===", b"\xff\xff\xff\xff"])
async def test_what_is_not_base64_is_refused(client: Client, body: bytes) -> None:
    """Nothing of it is guessed."""
    response = texts(await client.post(STREAM, body, TEXT))
    assert (response.trailers["grpc-status"], response.trailers["grpc-message"]) == ("3", "the body is not base64")


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_an_error_is_in_the_trailers(client: Client, path: str) -> None:
    """With its details, its message percent-encoded; the HTTP status is 200."""
    request = chat_pb2.ChatRequest(messages=[user("hi")], model="écho/é\n%").SerializeToString()
    response = await client.post(path, envelope(request), WEB)
    assert response.status == 200
    assert response.trailers["grpc-status"] in ("3", "5")
    message = response.trailers["grpc-message"]
    assert message.isascii()
    assert message.isprintable()
    details = base64.b64decode(response.trailers["grpc-status-details-bin"] + "==")
    status = status_pb2.Status.FromString(details)
    assert unquote(message) == status.message
    assert "é" in status.message
    assert status.details[0].TypeName() == "google.rpc.ErrorInfo"


@pytest.mark.parametrize("timeout", ["1", "S", "123456789S", "1s", "-1S", "1.5S", "1 S"])
async def test_a_malformed_timeout_is_refused(client: Client, timeout: str) -> None:
    """It would otherwise be waited for without end."""
    response = await client.post(CHAT, REQUEST, WEB, grpc_timeout=timeout)
    assert response.trailers["grpc-status"] == "3"
    assert "grpc-timeout" in response.trailers["grpc-message"]


@pytest.mark.parametrize("timeout", ["0n", "1u", "0H"])
async def test_a_deadline_that_has_passed(client: Client, timeout: str) -> None:
    """In any unit."""
    assert (await client.post(CHAT, REQUEST, WEB, grpc_timeout=timeout)).trailers["grpc-status"] == "4"
    answers(await client.post(CHAT, REQUEST, WEB, grpc_timeout="60S"))


async def test_trailers_of_callers_are_refused(client: Client) -> None:
    """Callers have none."""
    trailers = envelope(b"a: b\r\n", flags=0x80)
    assert (await client.post(CHAT, REQUEST + trailers, WEB)).trailers["grpc-status"] == "3"


async def test_another_compression_is_refused(client: Client) -> None:
    """With the ones that would do."""
    response = await client.post(CHAT, REQUEST, WEB, grpc_encoding="snappy")
    assert (response.trailers["grpc-status"], response.headers["grpc-accept-encoding"]) == ("12", "gzip, identity")


async def test_an_empty_answer(client: Client) -> None:
    """A message without bytes is a message."""
    path = "/contextprotocol.v1.SessionService"
    await client.post(f"{path}/CreateSession", b'{"sessionId":"tour"}')
    request = session_pb2.DeleteSessionRequest(name="sessions/tour").SerializeToString()
    assert answers(await client.post(f"{path}/DeleteSession", envelope(request), WEB)) == [b""]
