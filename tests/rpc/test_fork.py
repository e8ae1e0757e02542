"""Forks, and the keys of calls on sessions that are no turns."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import context_pb2, session_pb2, turn_pb2
from mcp_server.settings import Config
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.values import SECOND
from tests.conftest import Serve
from tests.wire import Refused, Wire, user


@pytest.fixture
async def wire(serve: Serve, config: Config) -> Wire:
    """A server on each of the stores, whose model repeats what it is told."""
    return await serve(config, providers={"scripted": EchoProvider()})


async def talked(wire: Wire, *texts: str) -> session_pb2.Session:
    session = await wire.create(
        default_model="scripted/echo",
        system_instruction="Be brief.",
        labels={"a": "b"},
        context={"name": context_pb2.ContextEntry(type="text", text="Ada")},
        ttl=duration_pb2.Duration(seconds=3600),
    )
    for text in texts:
        await wire.say(text)
    return session


async def fork(wire: Wire, name: str = "sessions/tour", **fields: Any) -> session_pb2.Session:
    forked: session_pb2.Session = await wire.sessions.ForkSession(session_pb2.ForkSessionRequest(name=name, **fields))
    return forked


async def texts(wire: Wire, name: str) -> list[str]:
    return [text for _, text in await wire.history(name, page_size=1000)]


async def test_a_fork_begins_with_all_that_its_parent_has(wire: Wire) -> None:
    """History, instruction, model, context, labels and ttl; turns and etag are its own."""
    parent = await talked(wire, "one", "two")
    forked = await fork(wire, session_id="branch")
    assert (forked.name, forked.parent, forked.message_count) == ("sessions/branch", parent.name, 4)
    for field in ("labels", "system_instruction", "default_model", "context", "ttl"):
        assert getattr(forked, field) == getattr(parent, field)
    assert forked.uid != parent.uid
    assert forked.etag != parent.etag
    assert await texts(wire, forked.name) == ["one", "one", "two", "two"]
    assert await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=forked.name)) == forked


@pytest.mark.parametrize("count", range(5))
async def test_a_fork_at_any_message_lives_alone(wire: Wire, count: int) -> None:
    """Both go on in their own way; the model sees each its own history."""
    await talked(wire, "one", "two")
    forked = await fork(wire, message_count=count)
    await wire.say("branch", forked.name)
    await wire.say("trunk")
    assert await texts(wire, forked.name) == [*["one", "one", "two", "two"][:count], "branch", "branch"]
    assert await texts(wire, "sessions/tour") == ["one", "one", "two", "two", "trunk", "trunk"]


async def test_messages_of_a_fork_name_the_turns_that_brought_them(wire: Wire) -> None:
    """Those that were shared are turns of the parent, which can be read there; its own are its own."""
    await talked(wire, "one")
    forked = await fork(wire)
    await wire.say("branch", forked.name)
    listed = await wire.sessions.ListMessages(session_pb2.ListMessagesRequest(parent=forked.name))
    names = [message.turn for message in listed.messages]
    assert [name.rpartition("/turns/")[0] for name in names] == ["sessions/tour"] * 2 + [forked.name] * 2
    for name in names:
        got = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
        assert got.name == got.message.turn == name


async def test_a_fork_outlives_its_parent(wire: Wire) -> None:
    """Deleted, and its name taken by another; a fork of a fork as well, when the one between goes."""
    await talked(wire, "one", "two")
    await fork(wire, session_id="child", message_count=3)
    await wire.say("child", "sessions/child")
    await fork(wire, "sessions/child", session_id="grandchild")
    for name in ("sessions/tour", "sessions/child"):
        await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=name))
    await wire.create()
    await wire.sessions.AppendMessages(
        session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user(str(n)) for n in range(100)])
    )
    assert await texts(wire, "sessions/grandchild") == ["one", "one", "two", "child", "child"]
    await wire.say("again", "sessions/grandchild")
    assert (await texts(wire, "sessions/grandchild"))[-2:] == ["again", "again"]


async def test_a_fork_outlives_the_expiry_of_its_parent(serve: Serve, config: Config) -> None:
    """What the sweep removes of the parent is not what the fork has of it."""
    now = 1_000_000 * SECOND
    wire = await serve(config, providers={"scripted": EchoProvider()}, clock=lambda: now)
    await talked(wire, "one")
    now += 1800 * SECOND
    forked = await fork(wire)
    now += 1801 * SECOND
    await wire.server.sweep()
    with Refused() as refused:
        await wire.history("sessions/tour")
    assert refused.reason == "SESSION_NOT_FOUND"
    assert await texts(wire, forked.name) == ["one", "one"]


async def test_a_fork_of_nothing_is_refused(wire: Wire) -> None:
    """No such session, more messages than there are, a name that is taken, a bad name."""
    await talked(wire, "one")
    await wire.create("taken")
    refusals: list[tuple[dict[str, Any], grpc.StatusCode, str]] = [
        ({"name": "sessions/none"}, grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        ({"message_count": 3}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"message_count": -1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"session_id": "taken"}, grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS"),
        ({"session_id": "tour"}, grpc.StatusCode.ALREADY_EXISTS, "SESSION_EXISTS"),
        ({"session_id": "NO"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"name": "tour"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    ]
    for fields, code, reason in refusals:
        with Refused() as refused:
            await fork(wire, **fields)
        assert (refused.code, refused.reason) == (code, reason), fields


async def test_a_busy_session_can_be_forked(serve: Serve, config: Config) -> None:
    """The fork has what is committed, and is free."""
    from mcp_server.testing import Gate

    gate = Gate()
    wire = await serve(config, providers={"scripted": ScriptedProvider(["x", gate]), "echo": EchoProvider()})
    await wire.create()
    await wire.say("one", model="echo/echo")
    call = asyncio.create_task(wire.say("two"))
    await gate.reached.wait()
    forked = await fork(wire)
    assert (forked.message_count, forked.active_turn) == (2, "")
    await wire.say("branch", forked.name, model="echo/echo")
    call.cancel()
    assert await texts(wire, forked.name) == ["one", "one", "branch", "branch"]


async def test_calls_on_sessions_are_free_to_retry(wire: Wire) -> None:
    """Create, fork and append: the same key changes nothing twice, however often and at once."""
    create = session_pb2.CreateSessionRequest(request_id="c", session=session_pb2.Session(labels={"a": "b"}))
    sessions = await asyncio.gather(*[wire.sessions.CreateSession(create) for _ in range(5)])
    assert len({session.uid for session in sessions}) == 1
    name = sessions[0].name
    append = session_pb2.AppendMessagesRequest(parent=name, messages=[user("a"), user("b")], request_id="a")
    answers = await asyncio.gather(*[wire.sessions.AppendMessages(append) for _ in range(5)])
    assert {answer.first_index for answer in answers} == {0}
    later = session_pb2.AppendMessagesRequest(parent=name, messages=[user("c")], request_id="b")
    assert (await wire.sessions.AppendMessages(later)).first_index == 2
    again = await wire.sessions.AppendMessages(append)
    assert (again.first_index, again.session.message_count) == (0, 3)
    assert await texts(wire, name) == ["a", "b", "c"]
    forks = [await fork(wire, name, request_id="f") for _ in range(3)]
    assert len({forked.uid for forked in forks}) == 1
    listed = await wire.sessions.ListSessions(session_pb2.ListSessionsRequest())
    assert len(listed.sessions) == 2


async def test_a_key_of_a_session_call_stands_for_one_request(wire: Wire) -> None:
    """Another body, or another method, is refused; the same key in another session is another key."""
    await talked(wire, "one")
    await wire.create("other")
    await fork(wire, request_id="k", session_id="branch")
    append = session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("a")], request_id="k")
    await wire.sessions.AppendMessages(append)
    append.parent = "sessions/other"
    assert (await wire.sessions.AppendMessages(append)).first_index == 0
    append.messages.append(user("b"))
    calls: list[Any] = [
        wire.sessions.AppendMessages(append),
        wire.sessions.CreateSession(session_pb2.CreateSessionRequest(request_id="k")),
        fork(wire, request_id="k", session_id="branch", message_count=1),
        fork(wire, "sessions/other", request_id="k", session_id="branch"),
    ]
    for call in calls:
        with Refused() as refused:
            await call
        assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_what_a_key_began_may_be_gone(wire: Wire) -> None:
    """A deleted session is not begun a second time by its key."""
    request = session_pb2.CreateSessionRequest(session_id="tour", request_id="k")
    await wire.sessions.CreateSession(request)
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
    with Refused() as refused:
        await wire.sessions.CreateSession(request)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    for key in ("x" * 129, "é", "a\nb"):
        with Refused() as refused:
            await wire.sessions.CreateSession(session_pb2.CreateSessionRequest(request_id=key))
        assert list(refused.violations) == ["request_id"]
