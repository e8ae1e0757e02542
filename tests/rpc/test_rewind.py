"""Rewinds: messages are removed from the end of a history."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import message_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.settings import Config
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, user

TOUR = "sessions/tour"


@pytest.fixture
async def wire(serve: Serve, config: Config) -> Wire:
    """A server on each of the stores, whose model repeats what it is told; and a session with four messages."""
    wire = await serve(config, providers={"scripted": EchoProvider()})
    await wire.create(default_model="scripted/echo", system_instruction="Be brief.")
    await wire.say("one")
    await wire.say("two")
    return wire


async def rewind(wire: Wire, count: int | None, name: str = TOUR, **fields: Any) -> session_pb2.Session:
    request = session_pb2.RewindSessionRequest(name=name, message_count=count, **fields)
    session: session_pb2.Session = await wire.sessions.RewindSession(request)
    return session


async def texts(wire: Wire, name: str = TOUR) -> list[str]:
    return [text for _, text in await wire.history(name)]


async def get(wire: Wire) -> session_pb2.Session:
    session: session_pb2.Session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name=TOUR))
    return session


@pytest.mark.parametrize("count", range(4))
async def test_the_first_messages_are_kept(wire: Wire, count: int) -> None:
    """The session is returned as it is now, and goes on from there."""
    before = await get(wire)
    session = await rewind(wire, count, etag=before.etag)
    assert session == await get(wire)
    assert (session.message_count, session.system_instruction) == (count, "Be brief.")
    assert session.etag != before.etag
    kept = ["one", "one", "two"][:count]
    assert await texts(wire) == kept
    if count % 2 == 0:
        await wire.say("new")
        assert await texts(wire) == [*kept, "new", "new"]


async def test_to_keep_all_changes_nothing(wire: Wire) -> None:
    """The etag stays."""
    before = await get(wire)
    assert await rewind(wire, 4) == before
    assert await texts(wire) == ["one", "one", "two", "two"]


async def test_a_fork_is_rewound_below_what_it_shares(wire: Wire) -> None:
    """Each of the two keeps what the other one loses."""
    fork = await wire.sessions.ForkSession(session_pb2.ForkSessionRequest(name=TOUR, session_id="fork"))
    await rewind(wire, 1, fork.name)
    assert await texts(wire) == ["one", "one", "two", "two"]
    await wire.sessions.ForkSession(session_pb2.ForkSessionRequest(name=TOUR, session_id="other"))
    await rewind(wire, 0)
    assert [await texts(wire, name) for name in (TOUR, fork.name, "sessions/other")] == [
        [],
        ["one"],
        ["one", "one", "two", "two"],
    ]


async def test_what_cannot_be_done_is_refused(wire: Wire) -> None:
    """No such session, too many messages, no number, another etag: nothing changes."""
    before = await get(wire)
    refusals: list[tuple[Any, grpc.StatusCode, str]] = [
        (rewind(wire, 0, "sessions/none"), grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND"),
        (rewind(wire, 5), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (rewind(wire, -1), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (rewind(wire, None), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (rewind(wire, 0, "tour"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (rewind(wire, 0, etag="old"), grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    ]
    for call, code, reason in refusals:
        with Refused() as refused:
            await call
        assert (refused.code, refused.reason) == (code, reason)
    assert await get(wire) == before


async def test_a_key_removes_messages_once(wire: Wire) -> None:
    """However often and at once it is used; another request with it is refused."""
    sessions = await asyncio.gather(*[rewind(wire, 2, request_id="k") for _ in range(5)])
    assert {session.message_count for session in sessions} == {2}
    await wire.say("new")
    assert (await rewind(wire, 2, request_id="k")).message_count == 4
    with Refused() as refused:
        await rewind(wire, 0, request_id="k")
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert await texts(wire) == ["one", "one", "new", "new"]


async def test_a_busy_session_is_not_rewound(serve: Serve, config: Config) -> None:
    """As long as a turn runs or waits."""
    gate = Gate()
    wire = await serve(config, providers={"scripted": ScriptedProvider(["a", Finish()], ["x", gate, Finish()])})
    await wire.create(default_model="scripted/scripted")
    await wire.say("one")
    call = asyncio.create_task(wire.say("two"))
    await gate.reached.wait()
    with Refused() as refused:
        await rewind(wire, 0)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SESSION_BUSY")
    assert refused.metadata["turn"] == (await get(wire)).active_turn
    gate.open()
    await call
    assert (await rewind(wire, 0)).message_count == 0


async def test_results_of_tools_stay_together(wire: Wire) -> None:
    """All results of an exchange are kept, or none; open calls can be answered."""

    def result(call: str) -> message_pb2.Message:
        part = message_pb2.Part(tool_result=message_pb2.ToolResult(tool_call_id=call))
        return message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[part])

    calls = [message_pb2.Part(tool_call=message_pb2.ToolCall(id=call, name="f", arguments_json="{}")) for call in "ab"]
    asking = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, parts=calls)
    messages = [user("three"), asking, result("a"), result("b"), user("four")]
    await wire.sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent=TOUR, messages=messages))
    with Refused() as refused:
        await rewind(wire, 7)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOOL_RESULTS_MISSING")
    assert refused.metadata["tool_call_ids"] == "b"
    assert (await rewind(wire, 8)).message_count == 8
    assert (await rewind(wire, 6)).message_count == 6
    request = session_pb2.AppendMessagesRequest(parent=TOUR, messages=[result("a"), result("b"), user("four")])
    await wire.sessions.AppendMessages(request)
    assert (await get(wire)).message_count == 9


async def test_pages_end_where_the_history_ends(wire: Wire) -> None:
    """A page that is asked for after a rewind has what is left behind the page before."""
    for newest_first, rest in ((False, []), (True, ["one"])):
        request = session_pb2.ListMessagesRequest(parent=TOUR, page_size=1, newest_first=newest_first)
        await wire.sessions.AppendMessages(session_pb2.AppendMessagesRequest(parent=TOUR, messages=[user("last")]))
        request.page_token = (await wire.sessions.ListMessages(request)).next_page_token
        request.page_token = (await wire.sessions.ListMessages(request)).next_page_token
        await rewind(wire, 1)
        request.page_size = 10
        page = await wire.sessions.ListMessages(request)
        assert [message.parts[0].text for message in page.messages] == rest
        await wire.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent=TOUR, messages=[user("a"), user("b"), user("c")])
        )


async def test_turns_of_removed_messages_stay(wire: Wire) -> None:
    """Until their retention ends."""
    answer = await wire.say("three")
    await rewind(wire, 0)
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=answer.turn))
    assert turn.message.parts[0].text == "three"
