"""A turn is stopped, deleted, left or drained at every point of its life: it has one end, and nothing is left of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, session_pb2, turn_pb2
from mcp_server.interfaces import NO_LOOK_UP, Changed, Decide, Finish, GenerateRequest, LookUp, ProviderEvent
from mcp_server.plugins import build
from mcp_server.settings import Config
from mcp_server.testing import Gate
from mcp_server.values import Capabilities, Model
from tests.conftest import Serve
from tests.wire import Refused, Wire, collect, user

SUCCEEDED, CANCELLED = turn_pb2.TURN_STATE_SUCCEEDED, turn_pb2.TURN_STATE_CANCELLED
BOUND = 8.0
"""Seconds in which anything is over: some times what a provider is given to stop."""

PHASES = [
    "before the claim",
    "behind the claim",
    "counting",
    "before the first token",
    "in the middle",
    "cleaning up",
    "before the commit",
    "behind the commit",
]


class Stage:
    """Holds the first turn at one point of its life until it is told to go on."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.gate = Gate()

    async def at(self, phase: str) -> None:
        """The turn is there."""
        if phase == self.phase and not self.gate.reached.is_set():
            await self.gate.passed()

    def store(self, make: Any) -> Any:
        """A store that holds it at its writes."""

        def building(*arguments: Any) -> Any:
            store = make(*arguments)
            if not hasattr(store, "change"):
                return store  # another plug-in
            change = store.change

            async def held(tenant: str, session: str, decide: Decide, /, look_up: LookUp = NO_LOOK_UP) -> Changed:
                write = decide.__qualname__.split(".")[1]
                await self.at(f"before the {write}")
                changed: Changed = await change(tenant, session, decide, look_up)
                await self.at(f"behind the {write}")
                return changed

            store.change = held
            return store

        return building


class Staged:
    """A provider that is held there too."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def models(self) -> Sequence[Model]:
        return [
            Model(name="scripted", capabilities=Capabilities(chat=True), context_window=40)
        ]  # so small that each prompt is counted

    async def count_tokens(self, _: GenerateRequest, /) -> int:
        await self.stage.at("counting")
        return 7

    async def generate(self, _: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        try:
            await self.stage.at("before the first token")
            yield "one "
            await self.stage.at("in the middle")
            yield "two"
            yield Finish()
        finally:
            await self.stage.at("cleaning up")

    async def close(self) -> None: ...


Hold = Callable[[str], Awaitable[tuple[Wire, Stage]]]


@pytest.fixture
def hold(serve: Serve, config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    """A server with a session, whose first turn is held at some point."""
    stages: list[Stage] = []

    async def held(phase: str) -> tuple[Wire, Stage]:
        stage = Stage(phase)
        stages.append(stage)
        monkeypatch.setattr("mcp_server.app.build", stage.store(build))
        wire = await serve(config, providers={"scripted": Staged(stage)})
        await wire.create()
        return wire, stage

    yield held
    for stage in stages:
        stage.gate.open()  # also if the test has failed: the server could not stop


def ask(**fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Tell me.")], request_id="r", **fields)


async def outcome(stream: Any) -> str:
    """``OK``, or the reason of the refusal."""
    ended = []
    with contextlib.suppress(grpc.aio.AioRpcError):
        ended = await collect(stream)
    if ended:
        assert ended[-1].HasField("completed")
        return "OK"
    with Refused() as refused:
        await stream.read()
    return refused.reason


def turns_of(wire: Wire) -> Any:
    """The turns of the server itself: what leaks is seen nowhere else."""
    return wire.server._turns


async def nothing_left(wire: Wire) -> None:
    """No turn runs, is known by its request or stands in a queue, and no session is held."""
    turns = turns_of(wire)
    async with asyncio.timeout(BOUND):
        await turns.idle()
    live = turns._live
    assert (live._by_id, live._by_request, len(turns._queues), turns._ownership.live) == ({}, {}, 0, set())


async def still_well(wire: Wire, ending: str) -> None:
    """The history has what the caller was told, and goes on."""
    exchanges = 1 if ending == "OK" else 0
    assert len(await wire.history()) == 2 * exchanges
    await wire.say("And?")
    assert len(await wire.history()) == 2 * exchanges + 2
    await nothing_left(wire)


async def begun(wire: Wire, stage: Stage, **fields: Any) -> tuple[Any, str]:
    """A turn that has come to its point, and its name, which its caller may not know yet."""
    stream = wire.chat.StreamChat(ask(**fields))
    async with asyncio.timeout(BOUND):
        await stage.gate.reached.wait()
    (live,) = turns_of(wire)._live
    return stream, live.turn.name


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancel(hold: Hold, phase: str) -> None:
    """It returns the turn as it ended, and says what the caller is told and what is recorded."""
    wire, stage = await hold(phase)
    stream, name = await begun(wire, stage)
    cancel = wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=name), timeout=BOUND)
    if phase == "before the claim":
        with Refused() as refused:  # nobody can know it
            await cancel
        assert refused.reason == "TURN_NOT_FOUND"
    else:
        await asyncio.sleep(0.1)  # whatever it can do now, it has done
    stage.gate.open()
    ending = await outcome(stream)
    assert ending in ("OK", "TURN_CANCELLED")
    if phase != "before the claim":
        expected = SUCCEEDED if ending == "OK" else CANCELLED
        assert (await cancel).state == expected
        assert (await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))).state == expected
    await still_well(wire, ending)


@pytest.mark.parametrize("phase", PHASES[1:])
@pytest.mark.parametrize("if_busy", ["IF_BUSY_REJECT", "IF_BUSY_QUEUE"])
async def test_a_delete_and_a_new_session_of_that_name(hold: Hold, phase: str, if_busy: str) -> None:
    """The turn ends with its session or before; those that waited for it never reach the new one, which is free."""
    wire, stage = await hold(phase)
    stream, name = await begun(wire, stage)
    waiting = wire.chat.StreamChat(
        chat_pb2.ChatRequest(session="sessions/tour", messages=[user("Next.")], if_busy=generation_pb2.IF_BUSY_QUEUE)
    )
    assert (await waiting.read()).HasField("queued" if phase != "behind the commit" else "started")
    await wire.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name="sessions/tour"), timeout=BOUND)
    await wire.create()
    stage.gate.open()
    await wire.say("Hello?", if_busy=if_busy)
    assert await outcome(stream) in ("SESSION_NOT_FOUND", "OK")
    assert await outcome(waiting) in ("SESSION_NOT_FOUND", "OK")
    assert await wire.history() == [("USER", "Hello?"), ("ASSISTANT", "one two")]
    with Refused() as refused:
        await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert refused.reason == "TURN_NOT_FOUND"
    await nothing_left(wire)


@pytest.mark.parametrize("phase", ["before the claim", "behind the claim"])
@pytest.mark.parametrize("method", ["Chat", "StreamChat"])
async def test_a_caller_that_left_before_the_turn_began_costs_nothing(hold: Hold, phase: str, method: str) -> None:
    """No provider is asked for an answer that nobody can find; the same call with a request_id may come back."""
    wire, stage = await hold(phase)
    request = ask()
    request.ClearField("request_id")
    call = getattr(wire.chat, method)(request)
    async with asyncio.timeout(BOUND):
        await stage.gate.reached.wait()
    call.cancel()
    while any(live.log._readers for live in turns_of(wire)._live):  # noqa: ASYNC110  # nobody is told
        await asyncio.sleep(0.005)
    stage.gate.open()
    await nothing_left(wire)
    (turn,) = (await wire.turns.ListTurns(turn_pb2.ListTurnsRequest(parent="sessions/tour"))).turns
    assert (turn.state, len(turn.attempts)) == (CANCELLED, 0)
    await still_well(wire, "")


@pytest.mark.parametrize("phase", PHASES)
async def test_the_last_reader_leaves(hold: Hold, phase: str) -> None:
    """With CANCEL: it is stopped unless it ends first, and the record shows one of the two."""
    wire, stage = await hold(phase)
    stream, name = await begun(wire, stage, on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL)
    stream.cancel()
    while any(live.log._readers for live in turns_of(wire)._live):  # noqa: ASYNC110  # nobody is told
        await asyncio.sleep(0.005)
    stage.gate.open()
    await nothing_left(wire)
    turn = await wire.turns.GetTurn(turn_pb2.GetTurnRequest(name=name))
    assert turn.state in (SUCCEEDED, CANCELLED)
    await still_well(wire, "OK" if turn.state == SUCCEEDED else "")


@pytest.mark.parametrize("phase", PHASES)
async def test_a_drain_that_waits_for_nothing(hold: Hold, phase: str) -> None:
    """Its reader hears DRAINING, or that it is done; the drain ends as soon as the turn lets it."""
    wire, stage = await hold(phase)
    stream, _ = await begun(wire, stage)
    drain = asyncio.create_task(wire.server.stop(0))
    while not turns_of(wire).draining:  # noqa: ASYNC110  # nobody is told
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    stage.gate.open()
    assert await outcome(stream) in ("OK", "DRAINING")
    async with asyncio.timeout(BOUND):
        await drain
    await nothing_left(wire)
