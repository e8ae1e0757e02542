# Generated from tests/client/test_metadata.py by scripts/generate: edit that file.

"""The metadata that servers send with their responses."""

from __future__ import annotations

import grpc
import pytest

from mcp_client import MCPSyncClient, Retry, SessionNotFound, record_metadata
from tests.client.blocking.beside import StandIn, running
from tests.client.providers import Letters
from tests.client.stand_in import OK, STARTED, Failure, text

QUICK = Retry(initial_delay=0.01, max_delay=0.02)
INITIAL = [("x-served-by", "a"), ("x-tag", "1"), ("x-tag", "2"), ("x-trace-bin", b"\x00\xff")]
TRAILING = [("x-cost", "3")]


def stand_in(*scripts: list[object]) -> StandIn:
    """A server that sends metadata with each response."""
    return StandIn(*scripts, initial=INITIAL, trailing=TRAILING)  # type: ignore[arg-type]  # the steps of a script


def test_the_metadata_of_a_call_are_recorded() -> None:
    """Those before the answer, and those behind it."""
    with stand_in([STARTED, OK]) as server, MCPSyncClient(server.address) as client:
        client.chat("Hi")
        with record_metadata() as calls:
            client.chat("Hi")
        client.chat("Hi")
    (call,) = calls
    assert call.method == "ChatService.Chat"
    assert call.initial == {"x-served-by": "a", "x-tag": "1, 2", "x-trace-bin": b"\x00\xff"}
    assert call.trailing == {"x-cost": "3"}


def test_those_of_a_stream_are_there_as_they_arrive() -> None:
    """The initial ones with the first event, the trailing ones at its end."""
    with stand_in([STARTED, text(2, "a"), OK]) as server, MCPSyncClient(server.address) as client:
        with record_metadata() as calls:
            with client.stream_chat("Hi") as stream:
                for _ in stream:
                    assert calls[0].initial["x-served-by"] == "a"
                    assert calls[0].trailing == {}
    assert [(call.method, call.trailing) for call in calls] == [("ChatService.StreamChat", {"x-cost": "3"})]


def test_each_attempt_is_a_call_of_its_own() -> None:
    """Of a call that is retried, and of a stream that is resumed."""
    lost = Failure(pushback="10")
    server = stand_in([lost], [OK], [STARTED, text(2, "a"), lost], [OK])
    with server, MCPSyncClient(server.address, retry=QUICK) as client:
        with record_metadata() as calls:
            client.chat("Hi")
            with client.stream_chat("Hi") as stream:
                stream.reply()
    assert [call.method for call in calls] == ["ChatService.Chat"] * 2 + ["ChatService.StreamChat"] * 2
    assert [call.trailing.get("grpc-retry-pushback-ms") for call in calls] == ["10", None, "10", None]
    assert calls[-1].trailing == {"x-cost": "3"}


def test_sessions_lists_and_embeddings_are_recorded_too() -> None:
    """Each page and each batch is a call; of a call that fails, the error's details are part of its metadata."""
    with running(providers={"letters": Letters()}) as server, MCPSyncClient(server.address) as client:
        with record_metadata() as calls:
            client.create_session("one")
            client.create_session("two")
            with record_metadata() as inner:
                assert len(list(client.list_sessions(page_size=1))) == 2
            client.embed(["a", "b", "c", "d"], model="letters/letters")
            with pytest.raises(SessionNotFound):
                client.get_session("nobody")
    methods = [call.method for call in calls]
    assert methods[:2] == ["SessionService.CreateSession"] * 2
    assert [call.method for call in inner] == ["SessionService.ListSessions"] * 2
    assert methods.count("EmbeddingService.Embed") >= 2
    assert "SESSION_NOT_FOUND" in str(calls[-1].trailing["grpc-status-details-bin"])


def test_a_call_that_no_server_answers_has_no_metadata() -> None:
    """It is recorded all the same."""
    with record_metadata() as calls:
        with MCPSyncClient("127.0.0.1:1", retry=None) as client:
            with pytest.raises(Exception, match="no answer from"):
                client.chat("Hi")
    assert [(call.initial, call.trailing) for call in calls] == [({}, {})]
    assert grpc.StatusCode.OK.name not in repr(calls)
