"""A provider that fails again and again is left alone, and tried by one call; never by the server's own."""

from __future__ import annotations

import asyncio

from contextprotocol.v1 import generation_pb2, model_pb2
from tests.models.conftest import Begin
from tests.models.stage import MODEL, SUCCEEDED, Stage
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS, WORDS
from tests.upstream.replies import CHAT, Answer, Close, Reply, Steps, Until, Vectors, alternating, in_turn

DOWN = FAULTS["503"]
ELSEWHERE = Answer(tokens=WORDS)
FAILURES = 3
"""After how many the circuit opens."""
FOR_EVER = 3600.0
"""How long it stays open where that is not to end."""


async def opened(stage: Stage) -> None:
    """Make the first provider fail until it is left alone."""
    while (calls := stage.calls[0]) < FAILURES:
        await stage.ask(f"question {calls}")
    assert stage.calls[0] == FAILURES


async def state(stage: Stage, provider: str) -> model_pb2.Model.State:
    """What the server says of a provider's model."""
    model = await stage.wire.models.GetModel(model_pb2.GetModelRequest(name=f"models/{provider}/{MODEL}"))
    found: model_pb2.Model.State = model.state
    return found


async def test_it_opens(begin: Begin) -> None:
    """After so many failures in a row nobody waits for the provider any more, and operators can see it."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    stage = await begin(DOWN, ELSEWHERE, max_attempts=1, routing=routing)
    assert await state(stage, "first") == model_pb2.Model.STATE_READY
    await opened(stage)
    for _ in range(3):
        result = await stage.ask()
        assert result.rows == [("second", SUCCEEDED, "")]
        assert result.switches == []
    assert stage.calls == [FAILURES, FAILURES + 3]
    assert await state(stage, "first") == model_pb2.Model.STATE_UNAVAILABLE
    assert await state(stage, "second") == model_pb2.Model.STATE_READY


async def test_alone_it_refuses_at_once(begin: Begin) -> None:
    """The caller learns when it is worth to come back."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    stage = await begin(DOWN, max_attempts=1, routing=routing)
    await opened(stage)
    result = await stage.ask()
    assert result.refused is not None
    assert result.reason == "PROVIDER_UNAVAILABLE"
    assert result.refused.retry_after is not None
    assert FOR_EVER - 60 < result.refused.retry_after <= FOR_EVER
    assert result.rows == []
    assert stage.calls == [FAILURES]


async def test_what_succeeds_in_between_keeps_it_closed(begin: Begin) -> None:
    """Only failures in a row count: a provider that flaps is asked again and again, and every caller is answered."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    stage = await begin(alternating(DOWN, DOWN, ELSEWHERE), ELSEWHERE, max_attempts=1, routing=routing)
    for _ in range(9):
        result = await stage.ask()
        assert result.text == ELSEWHERE.text
    assert stage.calls == [9, 6]


async def test_the_caller_s_own_faults_do_not_open_it(begin: Begin) -> None:
    """A bad request and refused content say nothing of the provider's health, and 429 says that it lives."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    stage = await begin(
        alternating(FAULTS["400"], FAULTS["content refused"], FAULTS["429"]), max_attempts=1, routing=routing
    )
    for _ in range(9):
        assert (await stage.ask()).reason != "PROVIDER_UNAVAILABLE"
    assert stage.calls == [9]


async def test_it_is_never_tried_by_a_timer(begin: Begin) -> None:
    """However long nobody calls, no tokens are spent."""
    stage = await begin(
        DOWN, ELSEWHERE, max_attempts=1, routing={"circuit_failures": FAILURES, "circuit_seconds": 0.01}
    )
    await opened(stage)
    await asyncio.sleep(0.3)  # thirty times as long as it stays open
    assert stage.calls[0] == FAILURES


async def test_one_call_tries_it_and_closes_it(begin: Begin) -> None:
    """While that one is under way all others go elsewhere; then all come back."""
    going_on = asyncio.Event()
    stage = await begin(DOWN, ELSEWHERE, max_attempts=1, routing={"circuit_failures": FAILURES, "circuit_seconds": 0.2})
    await opened(stage)
    await asyncio.sleep(0.3)
    first, second = stage.upstreams
    first.plan = in_turn(Steps((Until(going_on), *FAULTS["503"].steps(first.calls[0]))))
    trial = asyncio.create_task(stage.ask())
    await first.called(FAILURES + 1)
    before = len(second.calls)
    for _ in range(4):
        assert (await stage.ask()).rows == [("second", SUCCEEDED, "")]
    assert stage.calls == [FAILURES + 1, before + 4]
    going_on.set()
    assert (await trial).text == ELSEWHERE.text
    # It failed: it is open again. After a while the next one is on trial, and brings it back.
    await asyncio.sleep(0.3)
    first.plan = in_turn(ELSEWHERE)
    for _ in range(3):
        assert [row[0] for row in (await stage.ask()).rows] == ["first"]
    assert stage.calls[0] == FAILURES + 4


async def test_a_trial_that_its_caller_gives_up_is_no_verdict(begin: Begin) -> None:
    """The next call is on trial in its place."""
    stage = await begin(
        DOWN, ELSEWHERE, max_attempts=1, routing={"circuit_failures": FAILURES, "circuit_seconds": 0.05}
    )
    await opened(stage)
    await asyncio.sleep(0.1)
    first = stage.upstreams[0]
    first.plan = in_turn(FAULTS["no answer at all"])
    stream = stage.begin(on_disconnect=generation_pb2.ON_DISCONNECT_CANCEL)
    call = await first.called(FAILURES + 1)
    stream.cancel()
    await call.ended.wait()
    assert call.left is not None
    await stage.wire.server.idle()
    first.plan = in_turn(ELSEWHERE)
    assert (await stage.ask()).rows == [("first", SUCCEEDED, "")]


async def test_one_question_that_a_provider_cannot_bear_does_not_open_it(begin: Begin) -> None:
    """However often it is asked: it may be the reason. Other questions are counted with it."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    stage = await begin(FAULTS["500"], ELSEWHERE, max_attempts=1, routing=routing)
    await stage.wire.create()
    for _ in range(2 * FAILURES):
        await stage.ask("drop table")
        await stage.ask(session="sessions/tour")
    assert stage.calls[0] == 4 * FAILURES
    await stage.ask("another question")
    assert stage.calls[0] == 4 * FAILURES + 1
    assert (await stage.ask()).rows == [("second", SUCCEEDED, "")]


async def test_each_model_and_kind_of_call_has_its_own(begin: Begin) -> None:
    """Embeddings and other models of a provider that answers no chats are made all the same."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}

    def plan(call: Call) -> Reply:
        if call.path == CHAT and call.body["model"] == MODEL:
            return DOWN
        return ELSEWHERE if call.path == CHAT else Vectors()

    stage = await begin(plan, max_attempts=1, routing=routing, provider='api_key = "sk-test"\nmodels.other = {}')
    await opened(stage)
    assert (await stage.ask()).reason == "PROVIDER_UNAVAILABLE"
    assert (await stage.ask(model="first/other")).text == ELSEWHERE.text
    assert len((await stage.embed("a cab")).embeddings) == 1
    assert stage.calls == [FAILURES + 2]
    assert await state(stage, "first") == model_pb2.Model.STATE_READY
    other = await stage.wire.models.GetModel(model_pb2.GetModelRequest(name="models/first/other"))
    assert (other.state, other.state_reason) == (model_pb2.Model.STATE_READY, "")


async def test_a_provider_that_answers_and_then_cuts_opens_it_too(begin: Begin) -> None:
    """To begin an answer is not yet to be well."""
    routing = {"circuit_failures": FAILURES, "circuit_seconds": FOR_EVER}
    cut = Answer(tokens=WORDS, fails_after=2, failure=(Close(),))
    stage = await begin(cut, ELSEWHERE, max_attempts=1, routing=routing)
    await opened(stage)
    assert (await stage.ask()).rows == [("second", SUCCEEDED, "")]
