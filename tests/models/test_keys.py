"""Several keys of one provider: used in turn, and set aside when they are refused."""

from __future__ import annotations

import pytest

from tests.models.conftest import Begin
from tests.models.stage import FAILED, MODEL, SUCCEEDED
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS, WORDS
from tests.upstream.replies import Answer, Reply, by_key

GOOD = Answer(tokens=WORDS)
KEYS = 'api_keys = ["sk-a", "sk-b", "sk-c"]'


async def test_good_keys_take_turns(begin: Begin) -> None:
    """Each carries its share."""
    stage = await begin(GOOD, provider=KEYS)
    for _ in range(6):
        await stage.ask()
    assert [call.key for call in stage.upstreams[0].calls] == ["sk-a", "sk-b", "sk-c"] * 2


@pytest.mark.parametrize("name", ["401", "402", "429", "429 with Retry-After", "quota used up"])
async def test_a_refused_key_is_set_aside(begin: Begin, name: str) -> None:
    """The next one is tried at once, each try has its row, and later calls know."""
    stage = await begin(by_key({"sk-a": FAULTS[name], "sk-b": FAULTS[name]}, GOOD), provider=KEYS, max_attempts=1)
    result = await stage.ask()
    assert result.text == GOOD.text
    reason = "PROVIDER_RATE_LIMITED" if name.startswith("429") else "PROVIDER_REJECTED"
    assert result.rows == [("first", FAILED, reason), ("first", FAILED, reason), ("first", SUCCEEDED, "")]
    assert result.switches == []
    stage.audit(result)
    for _ in range(3):
        assert (await stage.ask()).rows == [("first", SUCCEEDED, "")]
    assert [call.key for call in stage.upstreams[0].calls] == ["sk-a", "sk-b", *["sk-c"] * 4]


async def test_a_rate_limit_is_that_of_one_model(begin: Begin) -> None:
    """The key is used for the others."""

    def plan(call: Call) -> Reply:
        return FAULTS["429 with Retry-After"] if call.key == "sk-a" and call.body["model"] == MODEL else GOOD

    stage = await begin(plan, provider=f"{KEYS}\nmodels.other = {{}}", max_attempts=1)
    assert (await stage.ask()).rows == [("first", FAILED, "PROVIDER_RATE_LIMITED"), ("first", SUCCEEDED, "")]
    for _ in range(3):
        assert (await stage.ask(model="first/other")).rows == [("first", SUCCEEDED, "")]
    assert [call.key for call in stage.upstreams[0].calls][2:] == ["sk-c", "sk-a", "sk-b"]


async def test_a_key_comes_back(begin: Begin) -> None:
    """After its time."""
    stage = await begin(by_key({"sk-a": FAULTS["401"]}, GOOD), provider=f"{KEYS}\nkey_rest = 0", max_attempts=1)
    for _ in range(4):
        assert (await stage.ask()).text == GOOD.text
    assert [call.key for call in stage.upstreams[0].calls].count("sk-a") > 1


@pytest.mark.parametrize("name", ["401", "402", "quota used up"])
async def test_when_all_are_refused_another_provider_answers(begin: Begin, name: str) -> None:
    """Each key is tried once; the other provider's keys are its own."""
    stage = await begin(FAULTS[name], GOOD, provider=KEYS)
    result = await stage.ask()
    assert result.text == GOOD.text
    assert stage.calls == [3, 1]
    assert [call.key for call in stage.upstreams[0].calls] == ["sk-a", "sk-b", "sk-c"]
    stage.audit(result)


async def test_when_all_are_refused_and_nobody_else_is_there(begin: Begin) -> None:
    """The caller is told that it is not theirs to mend."""
    stage = await begin(FAULTS["401"], provider=KEYS)
    result = await stage.ask()
    assert result.refused is not None
    assert (result.reason, result.refused.metadata["cause"]) == ("PROVIDER_REJECTED", "credentials")
    assert result.refused.retry_after is None
    assert stage.calls == [3]
