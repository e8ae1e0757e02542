"""Every fault, end to end: what the caller sees, who is asked, and what the ledger says."""

from __future__ import annotations

import asyncio

import pytest

from mcp_server.errors import BY_REASON
from tests.models.conftest import Begin
from tests.models.fates import ELSEWHERE_FIRST, FATES, UNREACHABLE
from tests.models.stage import (
    CONTINUED,
    ESTIMATED,
    FAILED,
    MODEL,
    REPORTED,
    RESTARTED,
    SUCCEEDED,
    CallResult,
    kept,
)
from tests.upstream.addresses import with_address
from tests.upstream.faults import AFTER_OUTPUT, CUT_AFTER, FAULTS, SILENT, STALLED, SUCCESSES, WORDS
from tests.upstream.replies import Answer, Refusal, in_turn

ELSEWHERE = Answer(tokens=("Another", " one", " says", " this", "."))
"""What the second provider says."""
SOON = "first_token_timeout = 0.5"
SILENT_SOON = "silence_timeout = 0.5"
"""How long the first one may be silent where it will be."""
SECONDS = 20
"""No call takes longer, however busy the machine is: most take less than a tenth of a second."""
CUTS = [*AFTER_OUTPUT, *STALLED]
PREFILL = f'[providers.second.models."{MODEL}"]\nprefill = "plain"'


def limits(name: str) -> dict[str, str]:
    """The settings of the providers' models; strict only where it matters."""
    if name == "context too long":
        return dict.fromkeys(["first", "second"], "context_window = 8192")
    if name in SILENT:
        return {"first": SOON}
    return {"first": SILENT_SOON} if name in STALLED else {}


def text_before_failure(name: str) -> str:
    """What the first provider says before it fails."""
    if name in CUTS:
        return "".join(WORDS if name == "no finish reason" else WORDS[:CUT_AFTER])
    return ""


def is_success(result: CallResult, text: str) -> bool:
    """Whether it is a whole answer with that text, wherever one looks."""
    assert result.refused is None
    last = result.events[-1]
    assert last.HasField("completed")
    assert result.turn.state == SUCCEEDED
    return result.text == kept(result.turn) == "".join(part.text for part in last.completed.message.parts) == text


def test_every_fault_has_a_fate() -> None:
    """And no fate is for a fault that there is not."""
    assert FATES.keys() == FAULTS.keys()


@pytest.mark.parametrize("name", FAULTS)
async def test_with_nobody_else_to_ask(begin: Begin, name: str) -> None:
    """It is tried again where that may help; then the caller gets one clear error, and never half an answer."""
    fate = FATES[name]
    stage = await begin(FAULTS[name], max_attempts=2, models={"first": limits(name).get("first", "")})
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert result.refused is not None
    assert (result.reason, result.refused.code.name) == (fate.reason, BY_REASON[fate.reason].code)
    tries = 2 if fate.retried else 1
    assert stage.calls == [tries]
    assert result.rows == [("first", FAILED, fate.reason)] * tries
    assert result.turn.state == FAILED
    assert not any(event.HasField("completed") for event in result.events)
    assert result.text == kept(result.turn) == text_before_failure(name)
    assert all((row.usage.input_tokens > 0) == fate.costs for row in result.turn.attempts)
    stage.audit(result)


@pytest.mark.parametrize("name", FAULTS)
async def test_with_another_provider(begin: Begin, name: str) -> None:
    """It answers in the place of the first, and the caller has the whole of its answer and nothing else."""
    fate = FATES[name]
    stage = await begin(FAULTS[name], ELSEWHERE, max_attempts=2, models=limits(name))
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    tries = 2 if fate.retried and name not in (*CUTS, *ELSEWHERE_FIRST) else 1
    stage.audit(result)
    if not fate.falls_back:
        assert result.reason == fate.reason
        assert stage.calls == [1, 0]
        return
    assert is_success(result, ELSEWHERE.text)
    assert stage.calls == [tries, 1]
    assert result.rows == [*[("first", FAILED, fate.reason)] * tries, ("second", SUCCEEDED, "")]
    assert result.switches == [(f"first/{MODEL}", f"second/{MODEL}", fate.reason, RESTARTED)]


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_an_address_with_a_fault(begin: Begin, name: str) -> None:
    """Nothing is sent there, and another provider answers."""
    fate, upstream = UNREACHABLE[name], with_address(name)
    stage = await begin(upstream, ELSEWHERE, max_attempts=2)
    if name == "nobody listens":
        upstream.stop_listening()
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, ELSEWHERE.text)
    assert result.rows == [*[("first", FAILED, fate.reason)] * 2, ("second", SUCCEEDED, "")]
    assert result.turn.usage.source == REPORTED
    assert stage.calls == [0, 1]


@pytest.mark.parametrize("name", CUTS)
async def test_cut_with_on_cut_fail(begin: Begin, name: str) -> None:
    """The turn fails at once, and what was said is kept."""
    stage = await begin(FAULTS[name], ELSEWHERE, on_cut="fail", models=limits(name))
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert result.reason == "PROVIDER_STREAM_CUT"
    assert stage.calls == [1, 0]
    assert result.text == kept(result.turn) == text_before_failure(name)
    assert result.switches == []
    stage.audit(result)


@pytest.mark.parametrize("name", CUTS)
async def test_cut_with_on_cut_continue(begin: Begin, name: str) -> None:
    """The second provider goes on where the first stopped, and the answer has no seam."""
    stage = await begin(
        FAULTS[name],
        Answer(tokens=WORDS, prefill=True),
        on_cut="continue",
        models=limits(name),
        more=PREFILL,
    )
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, "".join(WORDS))
    assert stage.calls == [1, 1]
    assert result.switches == [(f"first/{MODEL}", f"second/{MODEL}", "PROVIDER_STREAM_CUT", CONTINUED)]
    *_, last = stage.upstreams[1].calls[0].body["messages"]
    assert (last["role"], last["content"]) == ("assistant", text_before_failure(name))
    stage.audit(result)


@pytest.mark.parametrize("name", CUTS)
async def test_a_fallback_that_takes_no_prefill(begin: Begin, name: str) -> None:
    """It begins anew although the route says ``continue``, and hears nothing of what was said."""
    stage = await begin(FAULTS[name], ELSEWHERE, on_cut="continue", models=limits(name))
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, ELSEWHERE.text)
    assert result.switches == [(f"first/{MODEL}", f"second/{MODEL}", "PROVIDER_STREAM_CUT", RESTARTED)]
    assert [message["role"] for message in stage.upstreams[1].calls[0].body["messages"]] == ["user"]
    stage.audit(result)


@pytest.mark.parametrize("name", SUCCESSES)
async def test_what_looks_odd_and_is_whole(begin: Begin, name: str) -> None:
    """A finish reason is what counts: nobody else is asked."""
    stage = await begin(SUCCESSES[name], ELSEWHERE)
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, "".join(WORDS))
    assert stage.calls == [1, 0]
    assert result.turn.usage.source == (ESTIMATED if name == "no usage" else REPORTED)
    stage.audit(result)


async def test_a_slow_first_token_is_a_timeout_where_the_limit_is_shorter(begin: Begin) -> None:
    """The other provider answers, and the first is left."""
    slow = Answer(tokens=WORDS, thinks=30)
    stage = await begin(slow, ELSEWHERE, max_attempts=1, models={"first": SOON})
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, ELSEWHERE.text)
    assert result.rows == [("first", FAILED, "PROVIDER_TIMEOUT"), ("second", SUCCEEDED, "")]
    await stage.upstreams[0].idle()
    assert stage.upstreams[0].calls[0].left is not None


async def test_a_slow_trickle_is_cut_where_the_whole_has_a_limit(begin: Begin) -> None:
    """Although it is never silent for long."""
    trickle = Answer(tokens=WORDS * 1000, pause=0.01)
    stage = await begin(trickle, ELSEWHERE, models={"first": "attempt_timeout = 1.5"})
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert is_success(result, ELSEWHERE.text)
    assert result.rows == [("first", FAILED, "PROVIDER_STREAM_CUT"), ("second", SUCCEEDED, "")]
    assert stage.upstreams[0].calls[0].left is not None


@pytest.mark.parametrize(("window", "asked"), [(8192, 0), (4096, 0), (32_768, 1), (None, 1)])
async def test_context_too_long_goes_only_to_a_greater_window(begin: Begin, window: int | None, asked: int) -> None:
    """One that is not known may be greater."""
    models = {"first": "context_window = 8192", "second": "" if window is None else f"context_window = {window}"}
    stage = await begin(FAULTS["context too long"], ELSEWHERE, models=models)
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert stage.calls == [1, asked]
    assert result.reason == ("" if asked else "CONTEXT_TOO_LONG")
    stage.audit(result)


async def test_retry_after_is_honoured(begin: Begin) -> None:
    """With nobody else to ask, the second call comes when the provider said, not before."""
    stage = await begin(FAULTS["429 with Retry-After"], max_attempts=2)
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert result.refused is not None
    assert result.refused.retry_after == 1
    first, second = stage.upstreams[0].calls
    assert second.time - first.time >= 1


async def test_a_short_pause_is_made_for_the_preferred_model(begin: Begin) -> None:
    """Although another one could answer at once."""
    stage = await begin(in_turn(FAULTS["429 with Retry-After"], Answer(tokens=WORDS)), ELSEWHERE)
    result = await stage.ask()
    assert is_success(result, "".join(WORDS))
    assert result.rows == [("first", FAILED, "PROVIDER_RATE_LIMITED"), ("first", SUCCEEDED, "")]
    first, second = stage.upstreams[0].calls
    assert second.time - first.time >= 1


async def test_a_pause_is_made_once(begin: Begin) -> None:
    """Whoever asks for another one is left for the next model."""
    stage = await begin(FAULTS["429 with Retry-After"], ELSEWHERE)
    assert is_success(await stage.ask(), ELSEWHERE.text)
    assert stage.calls == [2, 1]


async def test_who_asks_for_peace_has_it_from_later_turns_too(begin: Begin) -> None:
    """They begin with the other provider, and come back when the time is over."""
    peace = Refusal(status=429, headers={"Retry-After": "2"})
    stage = await begin(in_turn(peace, Answer(tokens=WORDS)), ELSEWHERE, routing={"retry_after_wait": 0})
    for _ in range(2):
        assert is_success(await stage.ask(), ELSEWHERE.text)
    assert stage.calls == [1, 2]
    await asyncio.sleep(2)  # what it asked for
    assert is_success(await stage.ask(), "".join(WORDS))
    assert stage.calls == [2, 2]
