"""Watching a session: the client connects again after a lost connection, and begins with the current state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_client import (
    DeadlineExceeded,
    MCPClient,
    Message,
    MessagesAppended,
    Role,
    SessionCurrent,
    SessionDeleted,
    SessionNotFound,
    SessionRewound,
    SessionUpdated,
    ToolCall,
    ToolResult,
    ToolResultsMissing,
    TurnChanged,
    TurnState,
)
from mcp_server.testing import EchoProvider
from tests.client.beside import Proxy, running


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[MCPClient, Proxy, str]]:
    """A server behind a proxy, and a client that has reached it."""
    async with (
        running(providers={"echo": EchoProvider()}) as server,
        Proxy(server.address, lambda _: ()) as proxy,
        MCPClient(proxy.address) as client,
    ):
        await client.wait_until_ready(10)
        yield client, proxy, server.address


async def test_everything_that_happens_to_a_session_is_an_event(client: MCPClient) -> None:
    """From its current state to its end."""
    session = await client.create_session("tour", metadata={"plan": "free"})
    async with client.watch_session(session) as watch:
        assert await anext(watch) == SessionCurrent(etag=session.etag, session=session)
        reply = await client.chat("Hi", session=session)
        started, appended, ended = await anext(watch), await anext(watch), await anext(watch)
        assert isinstance(started, TurnChanged)
        assert (started.turn.name, started.turn.state) == (reply.turn, TurnState.RUNNING)
        assert appended == MessagesAppended(etag=reply.session_etag, first_index=0, message_count=2, turn=reply.turn)
        assert isinstance(ended, TurnChanged)
        assert ended.turn.state is TurnState.SUCCEEDED
        updated = await client.update_session(session, labels={"a": "b"})
        assert await anext(watch) == SessionUpdated(etag=updated.etag, session=updated)
        rewound = await client.rewind_session(session, 1)
        assert await anext(watch) == SessionRewound(etag=rewound.etag, message_count=1)
        await client.delete_session(session)
        assert await anext(watch) == SessionDeleted()
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


async def test_a_lost_connection_is_followed_by_the_current_state() -> None:
    """Whatever has happened meanwhile."""
    async with proxied() as (client, proxy, _):
        session = await client.create_session()
        async with client.watch_session(session) as watch:
            assert isinstance(await anext(watch), SessionCurrent)
            proxy.cut_all()
            await client.append_messages(session, "Hi")
            current = await anext(watch)
            assert isinstance(current, SessionCurrent)
            assert current.session.message_count == 1
            appended = await client.append_messages(session, "there")
            assert await anext(watch) == MessagesAppended(etag=appended.etag, first_index=1, message_count=2, turn="")


async def test_a_session_that_is_deleted_meanwhile_was_deleted() -> None:
    """Also if another has its name when the client is back."""
    async with proxied() as (client, proxy, address), MCPClient(address) as direct:
        for recreated in (False, True):
            await client.create_session("tour")
            async with client.watch_session("tour") as watch:
                await anext(watch)
                proxy.cut_all()
                await direct.delete_session("tour")
                if recreated:
                    await direct.create_session("tour")
                assert [event async for event in watch] == [SessionDeleted()]


async def test_a_session_that_is_not_there_cannot_be_watched(client: MCPClient) -> None:
    """It is not found at the first event."""
    async with client.watch_session("none") as watch:
        with pytest.raises(SessionNotFound):
            await anext(watch)


async def test_a_watch_ends_with_its_timeout(client: MCPClient) -> None:
    """And outside its block it cannot be read."""
    session = await client.create_session()
    async with client.watch_session(session, timeout=0.3) as watch:
        assert isinstance(await anext(watch), SessionCurrent)
        with pytest.raises(DeadlineExceeded):
            await anext(watch)
    with pytest.raises(RuntimeError, match="left before its end"):
        await anext(watch)
    with pytest.raises(RuntimeError, match="entered only once"):
        await watch.__aenter__()
    with pytest.raises(RuntimeError, match="inside its"):
        await anext(client.watch_session(session))


async def test_a_history_is_rewound(client: MCPClient) -> None:
    """The message that was removed makes room for another; results of tools stay together."""
    session = await client.create_session(default_model="echo/echo")
    await client.chat("one", session=session)
    rewound = await client.rewind_session(session, 0, request_id="r")
    assert (rewound.message_count, rewound.metadata) == (0, {})
    await client.chat("two", session=session)
    assert (await client.rewind_session(session, 0, request_id="r")).message_count == 2
    assert [message.text async for message in client.list_messages(session)] == ["two", "two"]
    calls = tuple([ToolCall(id=id, name="f", arguments_json="{}") for id in "ab"])
    results = [Message(role=Role.TOOL, parts=(ToolResult(tool_call_id=id, parts=()),)) for id in "ab"]
    await client.append_messages(session, ["f?", Message(role=Role.ASSISTANT, parts=calls), *results])
    with pytest.raises(ToolResultsMissing):
        await client.rewind_session(session, 5)
    assert (await client.rewind_session(session, 4)).message_count == 4
