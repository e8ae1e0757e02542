"""The metadata that servers send with their responses."""

from __future__ import annotations

import grpc
import pytest

from mcp_client import MCPClient, Retry, SessionNotFound, record_metadata
from tests.client.beside import StandIn, running
from tests.client.providers import Letters
from tests.client.stand_in import OK, STARTED, Failure, text

QUICK = Retry(initial_delay=0.01, max_delay=0.02)
INITIAL = [("x-served-by", "a"), ("x-tag", "1"), ("x-tag", "2"), ("x-trace-bin", b"\x00\xff")]
TRAILING = [("x-cost", "3")]


def stand_in(*scripts: list[object]) -> StandIn:
    """A server that sends metadata with each response."""
    return StandIn(*scripts, initial=INITIAL, trailing=TRAILING)  # type: ignore[arg-type]  # the steps of a script


async def test_the_metadata_of_a_call_are_recorded() -> None:
    """Those before the answer, and those behind it."""
    async with stand_in([STARTED, OK]) as server, MCPClient(server.address) as client:
        await client.chat("Hi")
        with record_metadata() as calls:
            await client.chat("Hi")
        await client.chat("Hi")
    (call,) = calls
    assert call.method == "ChatService.Chat"
    assert call.initial == {"x-served-by": "a", "x-tag": "1, 2", "x-trace-bin": b"\x00\xff"}
    assert call.trailing == {"x-cost": "3"}


async def test_those_of_a_stream_are_there_as_they_arrive() -> None:
    """The initial ones with the first event, the trailing ones at its end."""
    async with stand_in([STARTED, text(2, "a"), OK]) as server, MCPClient(server.address) as client:
        with record_metadata() as calls:
            async with client.stream_chat("Hi") as stream:
                async for _ in stream:
                    assert calls[0].initial["x-served-by"] == "a"
                    assert calls[0].trailing == {}
    assert [(call.method, call.trailing) for call in calls] == [("ChatService.StreamChat", {"x-cost": "3"})]


async def test_each_attempt_is_a_call_of_its_own() -> None:
    """Of a call that is retried, and of a stream that is resumed."""
    lost = Failure(pushback="10")
    server = stand_in([lost], [OK], [STARTED, text(2, "a"), lost], [OK])
    async with server, MCPClient(server.address, retry=QUICK) as client:
        with record_metadata() as calls:
            await client.chat("Hi")
            async with client.stream_chat("Hi") as stream:
                await stream.reply()
    assert [call.method for call in calls] == ["ChatService.Chat"] * 2 + ["ChatService.StreamChat"] * 2
    assert [call.trailing.get("grpc-retry-pushback-ms") for call in calls] == ["10", None, "10", None]
    assert calls[-1].trailing == {"x-cost": "3"}


async def test_sessions_lists_and_embeddings_are_recorded_too() -> None:
    """Each page and each batch is a call; of a call that fails, the error's details are part of its metadata."""
    async with running(providers={"letters": Letters()}) as server, MCPClient(server.address) as client:
        with record_metadata() as calls:
            await client.create_session("one")
            await client.create_session("two")
            with record_metadata() as inner:
                assert len([each async for each in client.list_sessions(page_size=1)]) == 2
            await client.embed(["a", "b", "c", "d"], model="letters/letters")
            with pytest.raises(SessionNotFound):
                await client.get_session("nobody")
    methods = [call.method for call in calls]
    assert methods[:2] == ["SessionService.CreateSession"] * 2
    assert [call.method for call in inner] == ["SessionService.ListSessions"] * 2
    assert methods.count("EmbeddingService.Embed") >= 2
    assert "SESSION_NOT_FOUND" in str(calls[-1].trailing["grpc-status-details-bin"])


async def test_a_call_that_no_server_answers_has_no_metadata() -> None:
    """It is recorded all the same."""
    with record_metadata() as calls:
        async with MCPClient("127.0.0.1:1", retry=None) as client:
            with pytest.raises(Exception, match="no answer from"):
                await client.chat("Hi")
    assert [(call.initial, call.trailing) for call in calls] == [({}, {})]
    assert grpc.StatusCode.OK.name not in repr(calls)
