"""Services of plug-ins, with methods of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_server.testing import EchoProvider, running
from tests.web.connect.client import Client, Response, envelope
from tests.web.connect.words import NAME, words
from tests.web.servers import web_config


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server with that service."""
    _, service = words()
    async with (
        running(web_config(), providers={"echo": EchoProvider()}, services=[service]) as server,
        Client(server.web_address) as client,
    ):
        yield client


async def call(client: Client, method: str, *texts: str, kind: str = "connect+json") -> Response:
    """Call a method that streams."""
    body = b"".join(envelope(f'"{text}"'.encode()) for text in texts)
    return await client.post(f"/{NAME}/{method}", body, f"application/{kind}")


async def test_a_request_may_be_another_value_than_an_object(client: Client) -> None:
    """Some of protobuf's own messages have a form of their own in JSON."""
    assert (await client.post(f"/{NAME}/Shout", b'"hello"')).json == "HELLO"
    assert (await client.post(f"/{NAME}/Shout", b"[]")).json["code"] == "invalid_argument"


@pytest.mark.parametrize("texts", [(), ("one",), ("one", "two", "three")])
async def test_callers_may_stream(client: Client, texts: tuple[str, ...]) -> None:
    """The answer comes when the whole request has."""
    assert (await call(client, "Join", *texts)).messages == [" ".join(texts)]
    over_grpc_web = await call(client, "Join", *texts, kind="grpc-web+json")
    assert over_grpc_web.trailers == {"grpc-status": "0"}


async def test_a_broken_message_of_many_is_refused(client: Client) -> None:
    """With those before it read already."""
    response = await client.post(f"/{NAME}/Join", envelope(b'"a"') + envelope(b"5"), "application/connect+json")
    assert (response.messages, response.error["code"]) == ([], "invalid_argument")


@pytest.mark.parametrize("kind", ["connect+json", "grpc-web+json"])
async def test_both_sides_cannot_stream_over_http_1(client: Client, kind: str) -> None:
    """HTTP says so, in its own way."""
    response = await call(client, "Talk", "hello", kind=kind)
    assert (response.status, response.json["code"]) == (505, "unimplemented")


async def test_a_method_that_is_not_implemented_says_so(client: Client) -> None:
    """As over gRPC."""
    response = await client.post(f"/{NAME}/Missing", b'"x"')
    assert (response.status, response.json["code"]) == (501, "unimplemented")
    assert response.json["details"][0]["debug"]["reason"] == "NOT_IMPLEMENTED"


async def test_a_fault_of_the_server_tells_nothing(client: Client) -> None:
    """But for the number under which the log has it."""
    response = await client.post(f"/{NAME}/Break", b'"x"')
    assert (response.status, response.json["code"]) == (500, "internal")
    assert b"secret" not in response.body
