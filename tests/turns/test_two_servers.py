"""Two servers over one store: a turn belongs to the server that has its lease."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Finish
from mcp_server.settings import TurnSettings
from mcp_server.settings import testing_config as settings
from mcp_server.stores.shared_memory import SharedMemoryStore
from mcp_server.testing import Gate, ScriptedProvider
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, deltas, text_of, user

BOUND = 20
LEASE = 0.6
QUEUE = generation_pb2.IF_BUSY_QUEUE
CANCEL_RUNNING = generation_pb2.IF_BUSY_CANCEL_RUNNING
Start = Callable[..., Awaitable[Wire]]


class Link:
    """What one server sees of a store: everything, or, once it is cut, nothing.

    Attributes:
        recovery_time: when the server last asked for leases that have ended, in nanoseconds since the Unix epoch.
        recovered: set at each such call.
    """

    def __init__(self, store: SharedMemoryStore) -> None:
        self.store = store
        self.cut = False
        self.recovery_time = 0
        self.recovered = asyncio.Event()


def _linked(name: str) -> Any:
    async def call(self: Link, *arguments: Any, **named: Any) -> Any:
        if self.cut and name != "close":
            raise StoreUnavailable("the store cannot be reached", retry_after=1)
        if name == "lapsed":
            self.recovery_time = time.time_ns()
            self.recovered.set()
        return await getattr(self.store, name)(*arguments, **named)

    return call


for _name in [name for name in dir(SharedMemoryStore) if not name.startswith("_")]:
    setattr(Link, _name, _linked(_name))


@pytest.fixture
def store() -> SharedMemoryStore:
    return SharedMemoryStore()


@pytest.fixture
def start(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start one more server; leases are short."""
    monkeypatch.setattr("mcp_server.app.LEASE_SECONDS", LEASE)

    async def begin(store: Any, provider: ScriptedProvider) -> Wire:
        config = msgspec.structs.replace(
            settings(default_model="scripted/scripted"), turns=TurnSettings(journal_interval=0.05)
        )
        return await serve(config, providers={"scripted": provider}, store=store)

    return begin


def ask(text: str = "Tell me.", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user(text)], **fields)


async def begun(wire: Wire, gate: Gate, **fields: Any) -> tuple[Any, str]:
    """A stream whose turn waits at its gate, and the name of the turn."""
    stream = wire.chat.StreamChat(ask(**fields))
    name = (await stream.read()).started.turn
    async with asyncio.timeout(BOUND):
        await gate.reached.wait()
    return stream, name


async def state_of(wire: Wire, name: str) -> str:
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    return turn_pb2.TurnState.Name(turn.state).removeprefix("TURN_STATE_")


async def until_state(wire: Wire, name: str, state: str) -> None:
    async with asyncio.timeout(BOUND):
        while await state_of(wire, name) != state:  # noqa: ASYNC110  # nothing announces what another server does
            await asyncio.sleep(0.02)


async def outlive_lease(link: Link, name: str) -> None:
    """Return when the server behind the link has asked for ended leases after the end of the turn's present one."""
    turn = await link.store.turn("default", name.rpartition("/")[2])
    assert turn is not None
    assert turn.lease is not None
    assert turn.lease.expire_time is not None
    async with asyncio.timeout(BOUND):
        while link.recovery_time <= turn.lease.expire_time:
            link.recovered.clear()
            await link.recovered.wait()


async def test_a_turn_of_a_live_server_is_left_alone(store: SharedMemoryStore, start: Start) -> None:
    """A server that starts does not interrupt it, whatever its leases' length; its session is busy everywhere."""
    gate, link = Gate(), Link(store)
    first = await start(store, ScriptedProvider(["one ", gate, "two", Finish()]))
    await first.create()
    stream, name = await begun(first, gate, request_id="r")
    second = await start(link, ScriptedProvider.saying("never"))
    for _ in range(2):  # the lease of its claim, and a renewed one
        await outlive_lease(link, name)
    assert await state_of(second, name) == "RUNNING"
    stored = await store.turn("default", name.rpartition("/")[2])
    assert stored is not None
    assert stored.lease is not None
    assert stored.lease.address == first.server.address
    with Refused() as refused:
        await second.chat.Chat(ask("Another."))
    assert (refused.reason, refused.metadata["turn"]) == ("SESSION_BUSY", name)
    with Refused() as refused:
        await second.sessions.AppendMessages(
            session_pb2.AppendMessagesRequest(parent="sessions/tour", messages=[user("x")])
        )
    assert refused.reason == "SESSION_BUSY"
    gate.open()
    assert deltas(await collect(stream)) == "one two"
    assert [text for _, text in await second.history()] == ["Tell me.", "one two"]


async def test_a_retry_elsewhere_does_not_run_the_turn_again(store: SharedMemoryStore, start: Start) -> None:
    """It waits for the turn, and gets its events."""
    gate, link, elsewhere = Gate(), Link(store), ScriptedProvider.saying("never")
    first = await start(store, ScriptedProvider(["one ", gate, "two", Finish()]))
    second = await start(link, elsewhere)
    await first.create()
    stream, name = await begun(first, gate, request_id="r")
    retried = asyncio.create_task(collect(second.chat.StreamChat(ask(request_id="r"))))
    await outlive_lease(link, name)
    assert not retried.done()
    gate.open()
    assert deltas(await collect(stream)) == "one two"
    events = await retried
    assert (events[0].started.turn, deltas(events)) == (name, "one two")
    assert elsewhere.requests == []


async def test_a_server_without_its_store_stops_its_turns(store: SharedMemoryStore, start: Start) -> None:
    """Another interrupts them when their lease has ended, and runs them again; what the first one still has is lost."""
    gate, link = Gate(), Link(store)
    first = await start(link, ScriptedProvider(["one ", gate, "two", Finish()]))
    second = await start(store, ScriptedProvider.saying("anew"))
    await second.create()
    stream, name = await begun(first, gate, request_id="r")
    link.cut = True
    with Refused() as refused:
        await collect(stream)
    assert (refused.reason, refused.metadata["turn"]) == ("TURN_INTERRUPTED", name)
    await until_state(second, name, "INTERRUPTED")
    gate.open()
    reply = await second.chat.Chat(ask(request_id="r"))
    assert (reply.turn, text_of(reply.completed.message)) == (name, "anew")
    assert [row.outcome for row in reply.completed.attempts] == [
        turn_pb2.TURN_STATE_INTERRUPTED,
        turn_pb2.TURN_STATE_SUCCEEDED,
    ]
    assert [text for _, text in await second.history()] == ["Tell me.", "anew"]
    link.cut = False
    reply = await first.chat.Chat(ask(request_id="r"))
    assert text_of(reply.completed.message) == "anew"


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_a_turn_is_stopped_from_another_server(store: SharedMemoryStore, start: Start, how: str) -> None:
    """Its own server finds out when it writes or renews next, and stops the provider."""
    gate = Gate()
    provider = ScriptedProvider(["one ", gate, "two", Finish()])
    first = await start(store, provider)
    second = await start(store, ScriptedProvider.saying("next"))
    await first.create()
    stream, name = await begun(first, gate)
    async with asyncio.timeout(BOUND):
        # Until all that it has is journalled.
        while not await store.events("default", name.rpartition("/")[2]):  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0.02)
    if how == "cancelled":
        turn = await second.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name))
        assert turn.state == turn_pb2.TURN_STATE_CANCELLED
    else:
        await second.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"))
        await second.create()
    with Refused() as refused:
        await collect(stream)
    assert refused.reason == ("TURN_CANCELLED" if how == "cancelled" else "SESSION_NOT_FOUND")
    async with asyncio.timeout(BOUND):
        await provider.stopped.wait()
    assert text_of((await second.chat.Chat(ask("Next."))).completed.message) == "next"


@pytest.mark.parametrize("if_busy", [QUEUE, CANCEL_RUNNING], ids=["queue", "cancel running"])
async def test_a_call_waits_for_a_turn_of_another_server(
    store: SharedMemoryStore, start: Start, if_busy: generation_pb2.IfBusy
) -> None:
    """Until that has ended, or after it was stopped."""
    gate = Gate()
    first = await start(store, ScriptedProvider(["one ", gate, "two", Finish()]))
    second = await start(store, ScriptedProvider.saying("next"))
    await first.create()
    stream, name = await begun(first, gate)
    waiting = second.chat.StreamChat(ask("Next.", if_busy=if_busy))
    assert (await waiting.read()).HasField("queued")
    if if_busy == QUEUE:
        assert await state_of(second, name) == "RUNNING"
        gate.open()
        assert deltas(await collect(stream)) == "one two"
    else:
        with Refused() as refused:
            await collect(stream)
        assert refused.reason == "TURN_CANCELLED"
    assert deltas(await collect(waiting)) == "next"
    texts = ["Tell me.", "one two", "Next.", "next"] if if_busy == QUEUE else ["Next.", "next"]
    assert [text for _, text in await second.history()] == texts
