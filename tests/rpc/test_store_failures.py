"""A store that fails at a bad moment: nobody is told of a success that is none, or of a failure that is none, and the
session goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, Finish, LookUp
from mcp_server.plugins import build
from mcp_server.settings import Config
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user


class Failing:
    """Fails the writes that it is told to, each once, before or after they have taken effect."""

    def __init__(self) -> None:
        self.plan: dict[str, str] = {}
        """``before`` or ``after``, by the kind of write: ``claim``, ``journal``, ``commit``, ``release``."""

    def around(self, make: Any) -> Any:
        """A store that fails so."""

        def building(*arguments: Any) -> Any:
            store = make(*arguments)
            if not hasattr(store, "change"):
                return store  # another plug-in
            change = store.change

            async def failing(tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
                kind = decide.__qualname__.split(".")[1]
                when = self.plan.pop(kind, "")
                if when == "before":
                    raise StoreUnavailable("the disk is full")
                changed: Changed = await change(tenant, session, decide, look_up)
                if when == "after":
                    raise StoreUnavailable("nobody knows whether that was written")
                return changed

            store.change = failing
            return store

        return building


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """Tells the store of the next server when to fail."""
    failing = Failing()
    monkeypatch.setattr("mcp_server.app.build", failing.around(build))
    yield failing
    assert not failing.plan, "that write never came"


def ask(request_id: str = "r") -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Tell me.")], request_id=request_id)


async def still_well(wire: Wire, *, exchanges: int) -> None:
    """The session is free, holds whole exchanges, and takes another."""
    assert len(await wire.history()) == 2 * exchanges
    await wire.say("And?")
    assert len(await wire.history()) == 2 * exchanges + 2


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_claim_that_fails_can_be_sent_again(serve: Serve, config: Config, failing: Failing, when: str) -> None:
    """With the same ``request_id``: one exchange comes of it, and one call to the provider."""
    provider = ScriptedProvider(["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan["claim"] = when
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert refused.trailers.get("grpc-retry-pushback-ms") != "-1"
    assert not provider.requests
    assert (await wire.chat.Chat(ask())).completed.message.parts[0].text == "fine"
    assert len(provider.requests) == 1
    await still_well(wire, exchanges=1)


async def test_a_commit_that_fails_changes_nothing(serve: Serve, config: Config, failing: Failing) -> None:
    """The turn has FAILED for good, its text is kept, and the history is as it was."""
    provider = ScriptedProvider(["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan["commit"] = "before"
    for _ in range(2):
        with Refused() as refused:
            await wire.chat.Chat(ask())
        assert (refused.reason, refused.trailers["grpc-retry-pushback-ms"]) == ("STORE_UNAVAILABLE", "-1")
    assert len(provider.requests) == 1
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=refused.metadata["turn"]))
    assert (turn.state, turn.message.parts[0].text) == (turn_pb2.TURN_STATE_FAILED, "fine")
    await still_well(wire, exchanges=0)


async def test_a_commit_that_was_written_after_all_is_a_success(serve: Serve, config: Config, failing: Failing) -> None:
    """The caller is told so at once, and again."""
    provider = ScriptedProvider(["fi", "ne", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan["commit"] = "after"
    events = await collect(wire.chat.StreamChat(ask()))
    done = events[-1].completed
    assert (done.message.parts[0].text, done.message.index) == ("fine", 1)
    again = (await wire.chat.Chat(ask())).completed
    assert again == done
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=events[0].started.turn))
    assert turn.state == turn_pb2.TURN_STATE_SUCCEEDED
    await still_well(wire, exchanges=1)


async def test_a_commit_of_which_nothing_is_known_is_not_undone(serve: Serve, config: Config, failing: Failing) -> None:
    """The store cannot even be asked: the caller hears that, may ask again, and gets what was written."""
    provider = ScriptedProvider(["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan |= {"commit": "after", "release": "before"}
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert (refused.reason, refused.trailers.get("grpc-retry-pushback-ms")) == ("STORE_UNAVAILABLE", None)
    assert (await wire.chat.Chat(ask())).completed.message.parts[0].text == "fine"
    assert len(provider.requests) == 1
    await still_well(wire, exchanges=1)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_end_that_cannot_be_written_frees_the_session(
    serve: Serve, config: Config, failing: Failing, when: str
) -> None:
    """The caller hears how the turn ended; the record shows no turn that runs."""
    gate = Gate()
    provider = ScriptedProvider(["On", gate], ["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    stream = wire.chat.StreamChat(ask())
    name = (await stream.read()).started.turn
    await gate.reached.wait()
    failing.plan["release"] = when
    await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
    with Refused() as refused:
        await collect(stream)
    assert refused.reason == "TURN_CANCELLED"
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert turn.state == turn_pb2.TURN_STATE_CANCELLED
    listed = await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))
    assert [turn.state for turn in listed.turns] == [turn_pb2.TURN_STATE_CANCELLED]
    await still_well(wire, exchanges=0)


async def test_a_failed_turn_that_cannot_be_written_does_not_run_for_ever(
    serve: Serve, config: Config, failing: Failing
) -> None:
    """It is INTERRUPTED to whoever looks, and its request runs it again."""
    provider = ScriptedProvider(["On", ValueError("a bug")], ["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan["release"] = "before"
    with Refused() as refused:
        await wire.chat.Chat(ask())
    assert refused.reason == "INTERNAL"
    name = refused.metadata["turn"]
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert turn.state == turn_pb2.TURN_STATE_INTERRUPTED
    (listed,) = (await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))).turns
    assert listed.state == turn_pb2.TURN_STATE_INTERRUPTED
    session = await wire.sessions.GetSession(session_pb2.GetSessionRequest(name="sessions/tour"))
    (in_list,) = (await wire.sessions.ListSessions(session_pb2.ListSessionsRequest())).sessions
    assert session.active_turn == in_list.active_turn == ""
    answer = await wire.chat.Chat(ask())
    assert (answer.turn, answer.completed.message.parts[0].text) == (name, "fine")
    await still_well(wire, exchanges=1)


async def test_a_journal_that_fails_is_written_later(serve: Serve, config: Config, failing: Failing) -> None:
    """Nothing is lost, and nothing is written twice."""
    first, second = Gate(), Gate()
    provider = ScriptedProvider(["one ", first, "two ", second, "three", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    failing.plan["journal"] = "after"
    stream = wire.chat.StreamChat(ask())
    events = [await stream.read() for _ in range(3)]
    await first.reached.wait()
    while failing.plan:  # noqa: ASYNC110  # nobody tells of the journal
        await asyncio.sleep(0.01)
    first.open()
    second.open()
    events += await collect(stream)
    assert events[-1].completed.message.parts[0].text == "one two three"
    replayed = await collect(wire.chat.StreamChat(ask()))
    assert "".join(event.delta.text for event in replayed) == "one two three"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", ["first", "second"])
async def test_a_waiting_turn_whose_claim_fails_blocks_nobody(
    serve: Serve, config: Config, failing: Failing, write: str, when: str
) -> None:
    """Be it that it cannot be written down as waiting, or cannot have its session: the next one runs, and its request
    can be sent again where it had not begun."""
    gate = Gate()
    provider = ScriptedProvider(["one", gate, Finish()], ["fine", Finish()])
    wire = await serve(config, providers={"scripted": provider})
    await wire.create()
    running = wire.chat.Chat(ask("running"))
    await gate.reached.wait()
    waits = ask()
    waits.if_busy = generation_pb2.IF_BUSY_QUEUE
    if write == "first":
        failing.plan["claim"] = when
        with Refused() as refused:
            await wire.chat.Chat(waits)
        assert refused.trailers.get("grpc-retry-pushback-ms") is None
        gate.open()
        await running
    else:
        stream = wire.chat.StreamChat(waits)
        assert (await stream.read()).HasField("queued")
        failing.plan["claim"] = when
        gate.open()
        await running
        with Refused() as refused:
            await collect(stream)
        assert refused.trailers["grpc-retry-pushback-ms"] == "-1"
        waits.request_id = "another"
    assert refused.reason == "STORE_UNAVAILABLE"
    done = (await wire.chat.Chat(waits)).completed
    assert done.message.parts[0].text == "fine"
    assert len(provider.requests) == 2
    await still_well(wire, exchanges=2)
