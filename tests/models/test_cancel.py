"""A caller's cancel stops everything at once, wherever a turn is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf import duration_pb2

from contextprotocol.v1 import generation_pb2, turn_pb2
from tests.models.conftest import Begin
from tests.models.stage import CANCELLED, FAILED, Stage, kept
from tests.upstream.faults import CUT_AFTER, FAULTS, WORDS
from tests.upstream.replies import Answer, Hang, Reply
from tests.wire import deltas

LONG = {"backoff": 60.0, "max_backoff": 60.0}
"""A pause that no test waits for."""
DOWN = FAULTS["503"]
HUNG = FAULTS["no answer at all"]
STALLED = Answer(tokens=WORDS, fails_after=CUT_AFTER, failure=(Hang(),))
SECONDS = 10
"""Far less than any pause or limit, and far more than a busy machine needs."""

MOMENTS: dict[str, tuple[tuple[Reply, ...], dict[str, float]]] = {
    "in a pause": ((DOWN,), LONG),
    "in a hung call": ((HUNG,), {}),
    "in a stalled answer": ((STALLED,), {}),
    "in a fallback that hangs": ((FAULTS["401"], HUNG), {}),
    "in a fallback that stalls": ((FAULTS["stream closed"], STALLED), {}),
    "in the pause of a fallback": ((FAULTS["401"], DOWN), LONG),
}
"""What the providers do, the last of them until the turn is stopped; and how long pauses are."""


async def reached(begin: Begin, moment: str, **fields: Any) -> tuple[Stage, Any, list[turn_pb2.TurnEvent]]:
    """A turn that has come to that moment: its stage, its stream and what was read of it."""
    replies, routing = MOMENTS[moment]
    stage = await begin(*replies, routing=routing, max_attempts=2)
    stream = stage.begin(**fields)
    events = [await stream.read()]
    last = await stage.upstreams[-1].called()
    if replies[-1] is DOWN:
        await last.ended.wait()
    if replies[-1] is STALLED:
        expected = "".join(WORDS[:CUT_AFTER]) * len(replies)
        while deltas(events) != expected:
            events.append(await stream.read())
    return stage, stream, events


async def all_is_quiet(stage: Stage, calls: list[int]) -> None:
    """Nobody works on, and nobody was asked once more."""
    for upstream in stage.upstreams:
        await upstream.idle()
    assert stage.calls == calls


@pytest.mark.parametrize("moment", MOMENTS)
async def test_cancelling(begin: Begin, moment: str) -> None:
    """The provider is left before CancelTurn has answered, and every call has its row."""
    stage, stream, events = await reached(begin, moment)
    calls = stage.calls
    async with asyncio.timeout(SECONDS):
        turn = await stage.wire.turns.CancelTurn(turn_pb2.CancelTurnRequest(name=events[0].started.turn))
        result = await stage.read(stream, events)
        await all_is_quiet(stage, calls)
    assert turn.state == CANCELLED
    assert result.reason == "TURN_CANCELLED"
    assert result.turn == turn
    assert sum(calls) == len(turn.attempts)
    outcome = FAILED if MOMENTS[moment][0][-1] is DOWN else CANCELLED
    assert turn.attempts[-1].outcome == outcome
    assert result.text == kept(turn)
    stage.audit(result)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_leaving(begin: Begin, moment: str) -> None:
    """The same when its last reader goes and the turn is to end with that."""
    stage, stream, events = await reached(begin, moment, on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL)
    calls = stage.calls
    async with asyncio.timeout(SECONDS):
        stream.cancel()
        await stage.wire.server.idle()
        await all_is_quiet(stage, calls)
    assert (await stage.turn(events[0].started.turn)).state == CANCELLED


@pytest.mark.parametrize("moment", MOMENTS)
async def test_the_turn_s_timeout(begin: Begin, moment: str) -> None:
    """It bounds the whole, retries, pauses and fallbacks included."""
    replies, routing = MOMENTS[moment]
    stage = await begin(*replies, routing=routing, max_attempts=2)
    async with asyncio.timeout(SECONDS):
        # Where it is not to pass, it is long enough for any machine.
        result = await stage.ask(timeout=duration_pb2.Duration(seconds=8 if routing else 1))
        await all_is_quiet(stage, stage.calls)
    assert result.turn.state == FAILED
    # A pause that would last longer than the turn is not begun: its caller hears at once what went wrong.
    assert result.reason == ("PROVIDER_UNAVAILABLE" if routing else "TURN_TIMEOUT")
    stage.audit(result)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_server_that_stops(begin: Begin, moment: str) -> None:
    """It leaves no call behind, and no connection."""
    stage, _, _ = await reached(begin, moment)
    async with asyncio.timeout(SECONDS):
        await stage.wire.server.stop(grace=0)
        for upstream in stage.upstreams:
            await upstream.deserted()
