# Generated from tests/client/test_watch.py by scripts/generate: edit that file.

"""Watching a session: the client connects again after a lost connection, and begins with the current state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mcp_client import (
    DeadlineExceeded,
    MCPSyncClient,
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
from tests.client.blocking.beside import Proxy, running


@contextmanager
def proxied() -> Iterator[tuple[MCPSyncClient, Proxy, str]]:
    """A server behind a proxy, and a client that has reached it."""
    with (
        running(providers={"echo": EchoProvider()}) as server,
        Proxy(server.address, lambda _: ()) as proxy,
        MCPSyncClient(proxy.address) as client,
    ):
        client.wait_until_ready(10)
        yield client, proxy, server.address


def test_everything_that_happens_to_a_session_is_an_event(client: MCPSyncClient) -> None:
    """From its current state to its end."""
    session = client.create_session("tour", metadata={"plan": "free"})
    with client.watch_session(session) as watch:
        assert next(watch) == SessionCurrent(etag=session.etag, session=session)
        reply = client.chat("Hi", session=session)
        started, appended, ended = next(watch), next(watch), next(watch)
        assert isinstance(started, TurnChanged)
        assert (started.turn.name, started.turn.state) == (reply.turn, TurnState.RUNNING)
        assert appended == MessagesAppended(etag=reply.session_etag, first_index=0, message_count=2, turn=reply.turn)
        assert isinstance(ended, TurnChanged)
        assert ended.turn.state is TurnState.SUCCEEDED
        updated = client.update_session(session, labels={"a": "b"})
        assert next(watch) == SessionUpdated(etag=updated.etag, session=updated)
        rewound = client.rewind_session(session, 1)
        assert next(watch) == SessionRewound(etag=rewound.etag, message_count=1)
        client.delete_session(session)
        assert next(watch) == SessionDeleted()
        with pytest.raises(StopIteration):
            next(watch)


def test_a_lost_connection_is_followed_by_the_current_state() -> None:
    """Whatever has happened meanwhile."""
    with proxied() as (client, proxy, _):
        session = client.create_session()
        with client.watch_session(session) as watch:
            assert isinstance(next(watch), SessionCurrent)
            proxy.cut_all()
            client.append_messages(session, "Hi")
            current = next(watch)
            assert isinstance(current, SessionCurrent)
            assert current.session.message_count == 1
            appended = client.append_messages(session, "there")
            assert next(watch) == MessagesAppended(etag=appended.etag, first_index=1, message_count=2, turn="")


def test_a_session_that_is_deleted_meanwhile_was_deleted() -> None:
    """Also if another has its name when the client is back."""
    with proxied() as (client, proxy, address), MCPSyncClient(address) as direct:
        for recreated in (False, True):
            client.create_session("tour")
            with client.watch_session("tour") as watch:
                next(watch)
                proxy.cut_all()
                direct.delete_session("tour")
                if recreated:
                    direct.create_session("tour")
                assert list(watch) == [SessionDeleted()]


def test_a_session_that_is_not_there_cannot_be_watched(client: MCPSyncClient) -> None:
    """It is not found at the first event."""
    with client.watch_session("none") as watch:
        with pytest.raises(SessionNotFound):
            next(watch)


def test_a_watch_ends_with_its_timeout(client: MCPSyncClient) -> None:
    """And outside its block it cannot be read."""
    session = client.create_session()
    with client.watch_session(session, timeout=0.3) as watch:
        assert isinstance(next(watch), SessionCurrent)
        with pytest.raises(DeadlineExceeded):
            next(watch)
    with pytest.raises(RuntimeError, match="left before its end"):
        next(watch)
    with pytest.raises(RuntimeError, match="entered only once"):
        watch.__enter__()
    with pytest.raises(RuntimeError, match="inside its"):
        next(client.watch_session(session))


def test_a_history_is_rewound(client: MCPSyncClient) -> None:
    """The message that was removed makes room for another; results of tools stay together."""
    session = client.create_session(default_model="echo/echo")
    client.chat("one", session=session)
    rewound = client.rewind_session(session, 0, request_id="r")
    assert (rewound.message_count, rewound.metadata) == (0, {})
    client.chat("two", session=session)
    assert (client.rewind_session(session, 0, request_id="r")).message_count == 2
    assert [message.text for message in client.list_messages(session)] == ["two", "two"]
    calls = tuple([ToolCall(id=id, name="f", arguments_json="{}") for id in "ab"])
    results = [Message(role=Role.TOOL, parts=(ToolResult(tool_call_id=id, parts=()),)) for id in "ab"]
    client.append_messages(session, ["f?", Message(role=Role.ASSISTANT, parts=calls), *results])
    with pytest.raises(ToolResultsMissing):
        client.rewind_session(session, 5)
    assert (client.rewind_session(session, 4)).message_count == 4
