"""The blocking client against gRPC's own double of a channel: what is sent, call by call, without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import grpc_testing
import pytest

from contextprotocol.v1 import chat_pb2, session_pb2, turn_pb2
from mcp_client import MCPSyncClient, Retry, SessionNotFound
from tests.client.blocking.beside import spawn
from tests.client.stand_in import OK, STARTED, Failure, text

CHAT = chat_pb2.DESCRIPTOR.services_by_name["ChatService"]
TURNS = turn_pb2.DESCRIPTOR.services_by_name["TurnService"]
SESSIONS = session_pb2.DESCRIPTOR.services_by_name["SessionService"]
SERVICES = [CHAT, TURNS, SESSIONS]
LOST = Failure()


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What clients get instead of a connection."""
    double = grpc_testing.channel(SERVICES, grpc_testing.strict_real_time())
    monkeypatch.setattr(grpc, "insecure_channel", lambda *_, **__: double)
    return double


@pytest.fixture
def client(channel: Any) -> Iterator[MCPSyncClient]:
    """A client of nobody."""
    with MCPSyncClient("nobody.test:1", metadata={"x-team": "blue"}, retry=Retry(initial_delay=0.001)) as client:
        yield client


def fail(call: Any, failure: Failure) -> None:
    """End a unary call so."""
    call.terminate(None, failure.trailers, failure.code, failure.message)


def test_a_chat_is_one_call(channel: Any, client: MCPSyncClient) -> None:
    """With the metadata of the client; its answer is the reply."""
    chat = spawn(client.chat, "Hi", temperature=0, session="tour")
    metadata, sent, call = channel.take_unary_unary(CHAT.methods_by_name["Chat"])
    request = chat_pb2.ChatRequest.FromString(sent)
    assert ("x-team", "blue") in metadata
    assert (request.session, request.messages[0].parts[0].text) == ("sessions/tour", "Hi")
    assert request.config.HasField("temperature")
    response = chat_pb2.ChatResponse(turn="turns/t", completed=OK.completed)
    call.terminate(response.SerializeToString(), (), grpc.StatusCode.OK, "")
    assert chat.result().text == "ok"


def test_a_lost_call_is_made_again_with_the_same_key(channel: Any, client: MCPSyncClient) -> None:
    """And one that the server refuses is not."""
    method = CHAT.methods_by_name["Chat"]
    chat = spawn(client.chat, "Hi")
    _, first, call = channel.take_unary_unary(method)
    fail(call, LOST)
    _, second, call = channel.take_unary_unary(method)
    assert first == second
    fail(call, Failure.of(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"))
    with pytest.raises(SessionNotFound):
        chat.result()


def test_a_stream_goes_on_in_another_call(channel: Any, client: MCPSyncClient) -> None:
    """Behind the last event; and the text is whole."""

    begun = threading.Event()

    def read() -> str:
        with client.stream_chat("Hi") as stream:
            first = next(stream)
            begun.set()
            return first + "".join(stream)

    method = CHAT.methods_by_name["StreamChat"]
    reading = spawn(read)
    _, _, call = channel.take_unary_stream(method)
    for event in (STARTED, text(2, "Hel")):
        call.send_response(event.SerializeToString())
    begun.wait()
    call.terminate(LOST.trailers, LOST.code, LOST.message)
    _, sent, call = channel.take_unary_stream(method)
    assert chat_pb2.ChatRequest.FromString(sent).after_sequence == 2
    for event in (text(3, "lo"), OK):
        call.send_response(event.SerializeToString())
    call.terminate((), grpc.StatusCode.OK, "")
    assert reading.result() == "Hello"


def test_leaving_a_stream_ends_its_call_and_stops_its_turn(channel: Any, client: MCPSyncClient) -> None:
    """In this order."""

    def leave() -> None:
        with client.stream_chat("Hi") as stream:
            next(stream.events())

    leaving = spawn(leave)
    _, _, call = channel.take_unary_stream(CHAT.methods_by_name["StreamChat"])
    call.send_response(STARTED.SerializeToString())
    _, sent, stop = channel.take_unary_unary(TURNS.methods_by_name["CancelTurn"])
    call.cancelled()  # returns when it is
    assert turn_pb2.CancelTurnRequest.FromString(sent).name == "turns/t"
    stop.terminate(turn_pb2.Turn(name="turns/t").SerializeToString(), (), grpc.StatusCode.OK, "")
    leaving.result()


def test_pages_are_fetched_as_they_are_read(channel: Any, client: MCPSyncClient) -> None:
    """The second with the token of the first."""
    method = SESSIONS.methods_by_name["ListMessages"]
    reading = spawn(lambda: [message.text for message in client.list_messages("tour")])
    for token, following in (("", "more"), ("more", "")):
        _, sent, call = channel.take_unary_unary(method)
        assert session_pb2.ListMessagesRequest.FromString(sent).page_token == token
        page = session_pb2.ListMessagesResponse(messages=[OK.completed.message], next_page_token=following)
        call.terminate(page.SerializeToString(), (), grpc.StatusCode.OK, "")
    assert reading.result() == ["ok", "ok"]
