"""How often a turn visits its store: as rarely as its promises allow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from contextprotocol.v1 import chat_pb2, turn_pb2
from mcp_server.interfaces import Finish
from mcp_server.stores.shared_memory import SharedMemoryStore
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, text_of, user

COUNTED = ("change", "turn", "events", "session", "messages")


class Visited(SharedMemoryStore):
    """Counts the visits while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.visits: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in COUNTED:
            self.visits[name] += 1
        return super().__getattribute__(name)


@pytest.fixture
def store() -> Visited:
    return Visited()


def ask(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Tell me.")], **fields)


async def begun(wire: Wire, gate: Gate) -> tuple[Any, str]:
    stream = wire.chat.StreamChat(ask(request_id="r"))
    name = (await stream.read()).started.turn
    await gate.reached.wait()
    return stream, name


async def test_a_turn_is_two_changes(serve: Serve, store: Visited) -> None:
    """The claim, which reads the history, and the commit."""
    wire = await serve(providers={"s": ScriptedProvider.saying("fine")}, store=store)
    await wire.create()
    store.visits.clear()
    await wire.chat.Chat(ask(request_id="r"))
    assert store.visits == {"change": 2}


async def test_an_interrupted_turn_is_taken_over_in_its_claim(serve: Serve, store: Visited) -> None:
    """One change more is the commit; its log is read once."""
    gate = Gate()
    first = await serve(providers={"s": ScriptedProvider(["one", gate, Finish()])}, store=store)
    second = await serve(providers={"s": ScriptedProvider.saying("anew")}, store=store)
    await first.create()
    stream, name = await begun(first, gate)
    await first.server.stop(grace=0)
    with Refused() as refused:
        await collect(stream)
    assert refused.reason == "DRAINING"
    store.visits.clear()
    reply = await second.chat.Chat(ask(request_id="r"))
    assert (reply.turn, text_of(reply.completed.message)) == (name, "anew")
    assert store.visits == {"change": 2, "events": 1}


async def test_a_cancel_reads_nothing_back(serve: Serve, store: Visited) -> None:
    """The runner knows how its turn ended."""
    gate = Gate()
    wire = await serve(providers={"s": ScriptedProvider(["one ", gate, Finish()])}, store=store)
    await wire.create()
    _, name = await begun(wire, gate)
    store.visits.clear()
    turn = await wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
    assert (turn.state, text_of(turn.message)) == (turn_pb2.TURN_STATE_CANCELLED, "one ")
    assert store.visits == {"change": 1}
