# Generated from tests/client/test_interceptors.py by scripts/generate: edit that file.

"""Interceptors of the program around each attempt of each call."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2
from mcp_client import MCPSyncClient, Retry, SessionNotFound, record_metadata
from mcp_server.interfaces import Finish
from tests.client.blocking.beside import Gate, ScriptedProvider, StandIn, running
from tests.client.stand_in import OK, STARTED, Failure, text
from tests.client.test_trace import TRACEPARENT, Watch, active_span

QUICK = Retry(initial_delay=0.01, max_delay=0.02)


class Recorder(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sees calls of both kinds, and adds a header to them."""

    def __init__(self, name: str, seen: list[tuple[str, str, Any, dict[str, Any]]]) -> None:
        self._name = name
        self._seen = seen

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """A call with one response."""
        return continuation(self._changed(client_call_details, request), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """A stream."""
        return continuation(self._changed(client_call_details, request), request)

    def _changed(self, details: Any, request: Any) -> Any:
        method = details.method if isinstance(details.method, str) else details.method.decode()
        self._seen.append((self._name, method.rpartition("/")[2], request, dict(details.metadata)))
        return details._replace(metadata=(*details.metadata, (f"x-{self._name}", "1")))


class Broken(grpc.UnaryUnaryClientInterceptor):
    """Raises, instead of calling."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Of calls with one response."""
        raise KeyError("of the interceptor")


class BrokenStream(grpc.UnaryStreamClientInterceptor):
    """Raises, instead of calling."""

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Of streams."""
        raise KeyError("of the interceptor")


def test_an_interceptor_adds_a_header_to_each_call() -> None:
    """The first one is the outermost, and sees the headers that the client sends itself."""
    watch, seen = Watch(), list[Any]()
    interceptors = [Recorder("first", seen), Recorder("second", seen)]
    with (
        running(middleware=[watch]) as server,
        MCPSyncClient(server.address, api_key="secret", interceptors=interceptors) as client,
    ):
        with active_span():
            client.chat("Hi")
            with client.stream_chat("Hi") as stream:
                stream.reply()
    assert [(name, method) for name, method, *_ in seen] == [
        *[("first", "Chat"), ("second", "Chat")],
        *[("first", "StreamChat"), ("second", "StreamChat")],
    ]
    for *_, request, metadata in seen:
        assert isinstance(request, chat_pb2.ChatRequest)
        assert (metadata["authorization"], metadata["traceparent"]) == ("Bearer secret", TRACEPARENT)
    assert ["x-first" in metadata for *_, metadata in seen] == [False, True] * 2
    assert [(one["x-first"], one["x-second"]) for one in watch.metadata] == [("1", "1")] * 2


def test_it_sees_each_attempt() -> None:
    """The retry of a call, and the call with which a stream resumes."""
    seen = list[Any]()
    server = StandIn([Failure()], [OK], [STARTED, text(2, "a"), Failure()], [OK], trailing=[("x-cost", "3")])
    with server, MCPSyncClient(server.address, retry=QUICK, interceptors=[Recorder("a", seen)]) as client:
        with record_metadata() as calls:
            assert (client.chat("Hi")).text == "ok"
            with client.stream_chat("Hi") as stream:
                assert (stream.reply()).text == "ok"
    assert [method for _, method, *_ in seen] == ["Chat", "Chat", "StreamChat", "StreamChat"]
    assert [call.trailing.get("x-cost") for call in calls] == ["3"] * 4


def test_errors_and_a_stream_that_is_left_are_as_without() -> None:
    """The error of the server is raised, the turn that was left is cancelled, and the session is free."""
    provider = ScriptedProvider(["Hel", Gate(), Finish()], ["two", Finish()])
    interceptors = [Recorder("a", list[Any]())]
    with (
        running(providers={"scripted": provider}) as server,
        MCPSyncClient(server.address, interceptors=interceptors) as client,
    ):
        session = client.create_session()
        with client.stream_chat("Hi", session=session) as stream:
            for _ in stream:
                break
        assert (client.get_turn(stream.turn)).state == "cancelled"
        assert (client.chat("Hi", session=session)).text == "two"
        with pytest.raises(SessionNotFound):
            client.get_session("nobody")


def test_what_an_interceptor_raises_is_raised_by_the_call() -> None:
    """It is not retried, and the client can be used again."""
    with running() as server:
        with MCPSyncClient(server.address, interceptors=[Broken()]) as client:
            with pytest.raises(KeyError, match="of the interceptor"):
                client.chat("Hi")
            with client.stream_chat("Hi") as stream:  # only unary calls are intercepted
                stream.reply()
        with MCPSyncClient(server.address, interceptors=[BrokenStream()]) as client:
            with pytest.raises(KeyError, match="of the interceptor"):
                with client.stream_chat("Hi") as stream:
                    stream.reply()
            assert (client.chat("Hi")).text


def test_an_object_of_another_kind_is_refused() -> None:
    """With its position, before anything is sent."""
    with pytest.raises(TypeError, match=r"interceptors\[1\]: expected a UnaryUnaryClientInterceptor"):
        MCPSyncClient("127.0.0.1:1", interceptors=[Recorder("a", []), "b"])  # type: ignore[list-item]
