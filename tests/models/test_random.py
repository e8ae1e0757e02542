"""Faults in any order: no success is anything but one whole answer, and everybody has the same text."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from contextprotocol.v1 import turn_pb2
from mcp_client import MCPClient, MCPError
from tests.models.conftest import Begin
from tests.models.fates import LATER
from tests.models.stage import MODEL, NAMES, REPORTED, SUCCEEDED, CallResult, Stage, kept
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS, SUCCESSES, WORDS
from tests.upstream.replies import CHAT, Answer, Close, Plan, Reply
from tests.wire import text_of

TURNS = 12
SECONDS = 60
HEAVY = ("enormous line", "header bomb")
"""Faults that take a while, and less often than others come."""
POOL = [name for name in FAULTS if name not in (*HEAVY, *LATER)]


def at_random(seed: str, tokens: Sequence[str], *, name: str = "", good: float = 0.4, prefill: bool = False) -> Plan:
    """A provider that fails in any way, or answers in any way; the same for the same seed.

    With a ``name`` every answer is one of a kind: it begins with the name and the number of the call.
    """

    def plan(call: Call) -> Reply:
        choice = random.Random(f"{seed}/{call.number}")  # noqa: S311  # no secret
        if call.path != CHAT:
            return FAULTS["503"]
        own = (f"{name}-{call.number}", *tokens) if name else tuple(tokens)
        if choice.random() < good:
            odd = choice.choice([None, *SUCCESSES])
            shape = Answer() if odd is None else SUCCESSES[odd]
            return Answer(
                tokens=own,
                done=shape.done,
                usage=shape.usage,
                chunked=shape.chunked,
                pause=shape.pause / 10,
                prefill=prefill,
            )
        if choice.random() < 0.5:
            after = choice.randrange(len(own) + 1)
            return Answer(tokens=own, fails_after=after, failure=(Close(),), prefill=prefill, pause=0.001)
        fault = FAULTS[choice.choice(POOL)]
        if isinstance(fault, Answer):
            return Answer(
                tokens=own,
                fails_after=fault.fails_after,
                failure=fault.failure,
                finish=fault.finish,
                chunked=fault.chunked,
                prefill=prefill,
            )
        return fault

    return plan


async def begun(begin: Begin, choice: random.Random, plans: Sequence[Plan], *, on_cut: str, prefill: bool) -> Stage:
    """A stage with those providers, and a session on it."""
    names = NAMES[: len(plans)]
    stage = await begin(
        *plans,
        on_cut=on_cut,
        max_attempts=choice.randint(1, 3),
        models=dict.fromkeys(names, "first_token_timeout = 1\nsilence_timeout = 1"),
        more="\n".join(f'[providers.{name}.models."{MODEL}"]\nprefill = "plain"' for name in names if prefill),
    )
    await stage.wire.create()
    return stage


def check_rows(stage: Stage, result: CallResult, before: Sequence[int]) -> None:
    """One row for each call that this turn made, in order; the last one is how it ended."""
    for name, upstream, first in zip(NAMES, stage.upstreams, before, strict=False):
        rows = [row for row in result.turn.attempts if row.provider == name]
        calls = upstream.calls[first:]
        assert len(rows) == len(calls)
        for row, call in zip(rows, calls, strict=True):
            assert row.usage.source != REPORTED or (call.reported or {})["completion_tokens"] == row.usage.output_tokens
    assert all(row.outcome != SUCCEEDED for row in result.turn.attempts[:-1])
    assert (result.turn.attempts[-1].outcome == SUCCEEDED) == (result.refused is None)


@pytest.mark.parametrize("on_cut", ["restart", "fail"])
@pytest.mark.parametrize("providers", [1, 2, 3])
async def test_a_success_is_one_whole_answer(begin: Begin, seed: int, on_cut: str, providers: int) -> None:
    """Of the last provider that was asked; a failure commits nothing, and whoever reads on or again has the same."""
    choice = random.Random(seed)  # noqa: S311  # no secret
    plans = [at_random(f"{seed}/{name}", WORDS, name=name) for name in NAMES[:providers]]
    stage = await begun(begin, choice, plans, on_cut=on_cut, prefill=False)
    history: list[tuple[str, str]] = []
    async with asyncio.timeout(SECONDS):
        for number in range(TURNS):
            before = stage.calls
            result = await stage.ask(f"question {number}", session="sessions/tour")
            check_rows(stage, result, before)
            assert result.text == kept(result.turn)
            if result.refused is None:
                last = stage.upstreams[NAMES.index(result.turn.attempts[-1].provider)].calls[-1]
                assert result.text == last.text == text_of(result.events[-1].completed.message)
                assert result.text.endswith("".join(WORDS))
                history += [("USER", f"question {number}"), ("ASSISTANT", result.text)]
            assert await stage.wire.history() == history
            for after in (0, choice.choice(result.events).sequence):
                again = await resumed(stage, result, after)
                assert (again.text, again.reason) == (result.text, result.reason)
            # One is kept to be used again; those that failed are closed.
            for upstream in stage.upstreams:
                await upstream.deserted(but=1)


async def test_a_success_that_went_on_has_no_seam(begin: Begin, seed: int) -> None:
    """However often and wherever it was cut, it reads as if one provider had said it."""
    choice = random.Random(seed)  # noqa: S311  # no secret
    plans = [at_random(f"{seed}/{name}", WORDS, prefill=True) for name in NAMES]
    stage = await begun(begin, choice, plans, on_cut="continue", prefill=True)
    async with asyncio.timeout(SECONDS):
        for number in range(TURNS):
            before = stage.calls
            result = await stage.ask(f"question {number}", session="sessions/tour")
            check_rows(stage, result, before)
            assert result.text == kept(result.turn)
            assert "".join(WORDS).startswith(result.text)
            if result.refused is None:
                assert result.text == "".join(WORDS)


async def test_the_client_has_the_stored_text(begin: Begin, seed: int) -> None:
    """It drops by itself what was begun anew, streamed or not."""
    choice = random.Random(seed)  # noqa: S311  # no secret
    plans = [at_random(f"{seed}/{name}", WORDS, name=name, prefill=True) for name in NAMES]
    stage = await begun(begin, choice, plans, on_cut="restart", prefill=False)
    async with asyncio.timeout(SECONDS), MCPClient(stage.wire.server.address) as client:
        for number in range(TURNS):
            async with client.stream_chat(f"question {number}", session="tour") as stream:
                failed = False
                try:
                    async for _ in stream:
                        pass
                except MCPError:
                    failed = True
            turn = await client.get_turn(stream.turn)
            assert stream.text == (turn.message.text if turn.message is not None else "")
            assert (turn.state == "succeeded") == (not failed)
            if not failed:
                assert (await stream.reply()).text == stream.text


async def resumed(stage: Stage, result: CallResult, after: int) -> CallResult:
    """What a caller has who lost the connection behind an event, and reads on."""
    request = turn_pb2.StreamTurnRequest(name=result.turn.name, after_sequence=after)
    seen = [event for event in result.events if event.sequence <= after]
    return await stage.read(stage.wire.turns.StreamTurn(request), seen)
