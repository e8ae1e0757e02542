"""The ledger against the books of the providers: every call, what it took, and what it cost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from contextprotocol.v1 import chat_pb2, message_pb2
from tests.models.conftest import Begin
from tests.models.stage import ESTIMATED, FAILED, MODEL, REPORTED, SUCCEEDED, CallResult, kept
from tests.upstream.faults import FAULTS, WORDS
from tests.upstream.replies import Answer, Close, ToolCall, alternating, in_turn

TEXTS: Final = Path(__file__).parent / "texts"
"""Real texts, cut into the tokens that OpenAI's vocabulary o200k_base has for them: ``|`` parts them."""
SEPARATOR: Final = "|"
TOKENS: Final = {"english": 172, "code": 263, "chinese": 194, "japanese": 231, "korean": 178}
"""How many these are: in the files, a token that is no whole character is joined to the next one, since no server sends
half of one."""
ERROR: Final = 0.25
"""By how much an estimate may be wrong, as docs/faults.md says."""
ANSWER: Final = Answer(tokens=WORDS, reasoning=("Let", " me", " see"))
PRICES: Final = "price = { input = 3.0, output = 15.0, cached_input = 0.3 }"
ELSEWHERE_PRICES: Final = 'price = { input = 1.0, output = 2.0, currency = "EUR" }'


def tokens_of(text: str) -> tuple[str, ...]:
    """A text in tokens."""
    return tuple((TEXTS / f"{text}.txt").read_text().split(SEPARATOR))


async def test_what_is_reported_is_written_down(begin: Begin) -> None:
    """Prompt, cached prompt, answer and reasoning, as the provider's own books have them."""
    stage = await begin(ANSWER)
    result = await stage.ask("one two three four five six")
    (row,) = result.turn.attempts
    assert row.usage == result.turn.usage == result.events[-1].completed.usage
    assert (row.usage.input_tokens, row.usage.cached_input_tokens) == (6, 3)
    assert (row.usage.output_tokens, row.usage.reasoning_tokens) == (len(WORDS) + 3, 3)
    assert row.usage.source == REPORTED
    stage.audit(result)


async def test_tool_calls_are_reported_too(begin: Begin) -> None:
    """Their arguments are tokens like others."""
    call = ToolCall("call-1", "weather", ('{"city":', ' "Rome"}'))
    stage = await begin(Answer(tokens=(), tools=(call,), finish="tool_calls"))
    request = chat_pb2.ChatRequest(messages=[message_pb2.Message(role=message_pb2.ROLE_USER)])
    request.messages[0].parts.add(text="what is the weather")
    request.tools.add(name="weather")
    result = await stage.read(stage.wire.chat.StreamChat(request))
    assert result.turn.attempts[0].usage.output_tokens == 2
    stage.audit(result)


async def test_every_call_has_its_row_and_its_price(begin: Begin) -> None:
    """A cut one costs what it is estimated to have taken, one that was turned away nothing; the turn is their sum."""
    cut = Answer(tokens=WORDS, fails_after=4, failure=(Close(),))
    stage = await begin(
        alternating(FAULTS["503"], cut),
        ANSWER,
        models={"first": PRICES, "second": ELSEWHERE_PRICES},
    )
    result = await stage.ask("one two three four")
    assert result.rows == [
        ("first", FAILED, "PROVIDER_UNAVAILABLE"),
        ("first", FAILED, "PROVIDER_STREAM_CUT"),
        ("second", SUCCEEDED, ""),
    ]
    away, half, whole = result.turn.attempts
    assert (away.usage.input_tokens, away.usage.output_tokens, away.cost_nanos) == (0, 0, 0)
    assert half.usage.source == ESTIMATED
    assert half.cost_nanos == 3_000 * half.usage.input_tokens + 15_000 * half.usage.output_tokens
    assert half.currency == "USD"
    # The second one has no price of its own for what was cached.
    assert whole.cost_nanos == 1_000 * 4 + 2_000 * whole.usage.output_tokens
    assert whole.currency == "EUR"
    assert result.turn.usage.source == ESTIMATED
    assert all(row.duration.ToTimedelta() >= row.time_to_first_token.ToTimedelta() for row in result.turn.attempts)
    assert not away.HasField("time_to_first_token")
    assert half.HasField("time_to_first_token")
    stage.audit(result)


async def test_the_cached_part_of_a_prompt_has_its_own_price(begin: Begin) -> None:
    """In billionths of the currency."""
    stage = await begin(ANSWER, models={"first": PRICES})
    result = await stage.ask("one two three four")
    assert result.turn.attempts[0].cost_nanos == 2 * 3_000 + 2 * 300 + (len(WORDS) + 3) * 15_000


async def test_the_metrics_are_the_sum_of_the_ledger(begin: Begin) -> None:
    """Of all calls, failed ones included."""
    stage = await begin(
        alternating(FAULTS["503"], Answer(tokens=WORDS, fails_after=4, failure=(Close(),)), ANSWER),
        ANSWER,
        models={"first": PRICES, "second": PRICES},
        metrics_address="127.0.0.1:0",
    )
    rows = [row for _ in range(5) for row in (await stage.ask()).turn.attempts]
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{stage.wire.server.metrics_port}/metrics") as response,
    ):
        page = await response.text()
    for provider in ("first", "second"):
        mine = [row for row in rows if row.provider == provider]
        labels = f'model="{MODEL}",provider="{provider}"'
        sums = {
            f'contextprotocol_tokens_total{{direction="input",{labels}}}': sum(row.usage.input_tokens for row in mine),
            f'contextprotocol_tokens_total{{direction="output",{labels}}}': sum(
                row.usage.output_tokens for row in mine
            ),
            f'contextprotocol_cost_total{{currency="USD",{labels}}}': sum(row.cost_nanos for row in mine) / 1e9,
        }
        for name, value in sums.items():
            (line,) = [line for line in page.splitlines() if line.startswith(name)]
            assert float(line.rpartition(" ")[2]) == pytest.approx(value)
    ended = [line for line in page.splitlines() if line.startswith("contextprotocol_attempts_ended_total")]
    assert sum(float(line.rpartition(" ")[2]) for line in ended) == len(rows)


# -- what was not reported --------------------------------------------------------------------------------------------


def error_of(result: CallResult, sent: float) -> float:
    """How wrong the estimate of the only call is, as a share of what was sent."""
    (row,) = result.turn.attempts
    assert row.usage.source == ESTIMATED
    assert row.delivered_tokens == row.usage.output_tokens
    return abs(row.usage.output_tokens - sent) / sent


@pytest.mark.parametrize("pause", [0.0, 0.002], ids=["in bursts", "one by one"])
@pytest.mark.parametrize("text", TOKENS)
async def test_an_estimate_is_near_the_truth(begin: Begin, text: str, pause: float) -> None:
    """Of a stream that was cut after its last token, and of one whose provider reports nothing."""
    tokens = tokens_of(text)
    cut = Answer(tokens=tokens, pause=pause, fails_after=len(tokens), failure=(Close(),))
    stage = await begin(in_turn(cut, Answer(tokens=tokens, pause=pause, usage=False)), on_cut="fail")
    result = await stage.ask()
    assert result.reason == "PROVIDER_STREAM_CUT"
    assert kept(result.turn) == "".join(tokens)
    assert error_of(result, TOKENS[text]) <= ERROR
    result = await stage.ask()
    assert result.turn.state == SUCCEEDED
    assert error_of(result, TOKENS[text]) <= ERROR


@pytest.mark.parametrize("text", TOKENS)
async def test_an_estimate_of_a_part_is_near_the_truth(begin: Begin, text: str) -> None:
    """Wherever the stream is cut, if at least some fifty tokens came."""
    tokens = tokens_of(text)
    generator = random.Random(text)  # noqa: S311  # the same places every time
    places = [generator.randrange(50, len(tokens)) for _ in range(5)]
    cuts = [Answer(tokens=tokens, fails_after=place, failure=(Close(),)) for place in places]
    stage = await begin(in_turn(*cuts), on_cut="fail")
    for place in places:
        result = await stage.ask()
        assert error_of(result, place * TOKENS[text] / len(tokens)) <= ERROR, place


@pytest.mark.parametrize("text", TOKENS)
async def test_an_estimate_of_a_prompt_is_near_the_truth(begin: Begin, text: str) -> None:
    """The same for what was asked."""
    tokens = tokens_of(text)
    stage = await begin(Answer(usage=False))
    result = await stage.ask("".join(tokens) * 3)
    sent = TOKENS[text] * 3
    assert abs(result.turn.usage.input_tokens - sent) / sent <= ERROR
