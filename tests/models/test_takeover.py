"""What takes over from what: once and again, in every kind of answer."""

from __future__ import annotations

import asyncio

import pytest

from contextprotocol.v1 import chat_pb2, completion_pb2, generation_pb2, message_pb2
from tests.models.conftest import Begin
from tests.models.fates import FATES, LATER
from tests.models.stage import CONTINUED, FAILED, MODEL, RESTARTED, SUCCEEDED, kept
from tests.upstream.faults import AFTER_OUTPUT, CUT_AFTER, EMPTY, FAULTS, SILENT, STALLED, WORDS, broken
from tests.upstream.replies import Answer, Close, ToolCall, alternating, in_turn
from tests.wire import text_of, user

GOOD = Answer(tokens=WORDS)
ELSEWHERE = Answer(tokens=("Another", " one", " says", " this", "."))
CUT = broken(Close())
BEGINNING = "".join(WORDS[:CUT_AFTER])
ONCE = [name for name, fate in FATES.items() if fate.retried and name not in LATER]
CALL = ToolCall("call-1", "weather", ('{"city":', ' "Ro', 'me"}'))
SECONDS = 20


def prefill(how: str, provider: str = "second") -> str:
    """How the model of a provider goes on from the beginning of an answer."""
    return f'[providers.{provider}.models."{MODEL}"]\nprefill = "{how}"'


@pytest.mark.parametrize("name", ONCE)
async def test_what_happens_once_is_hardly_seen(begin: Begin, name: str) -> None:
    """The same provider is asked again, and answers."""
    strict = {"first": "first_token_timeout = 1\nsilence_timeout = 1"} if name in SILENT or name in STALLED else {}
    stage = await begin(in_turn(FAULTS[name], GOOD), models=strict)
    async with asyncio.timeout(SECONDS):
        result = await stage.ask()
    assert result.text == kept(result.turn) == GOOD.text
    assert result.rows == [("first", FAILED, FATES[name].reason), ("first", SUCCEEDED, "")]
    model = f"first/{MODEL}"
    begun = name in AFTER_OUTPUT or name in STALLED
    assert result.switches == ([(model, model, "PROVIDER_STREAM_CUT", RESTARTED)] if begun else [])
    stage.audit(result)


async def test_a_provider_that_flaps(begin: Begin) -> None:
    """Whoever calls is answered, and nobody's answer is mixed with another's."""
    down = [FAULTS[name] for name in ("503", "reset before headers", "stream cut", *EMPTY)]
    stage = await begin(alternating(*down, *[GOOD] * len(down)), ELSEWHERE, routing={"circuit_failures": 3})
    async with asyncio.timeout(SECONDS):
        for _ in range(5):
            for result in await asyncio.gather(*[stage.ask() for _ in range(8)]):
                assert result.text == kept(result.turn)
                assert result.text in (GOOD.text, ELSEWHERE.text)


async def test_a_unary_call_has_the_answer_alone(begin: Begin) -> None:
    """It waits for whoever brings it to its end."""
    stage = await begin(CUT, ELSEWHERE)
    answer = await stage.wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("go on")]))
    assert text_of(answer.completed.message) == ELSEWHERE.text
    assert [row.provider for row in answer.completed.attempts] == ["first", "second"]


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_completion_falls_back_too(begin: Begin, goes_on: bool) -> None:
    """What was written is the end of the next prompt, where the model takes that."""
    rest = Answer(tokens=WORDS[CUT_AFTER:]) if goes_on else ELSEWHERE
    stage = await begin(CUT, rest, on_cut="continue", more=prefill("plain") if goes_on else "")
    stream = stage.wire.completion.StreamComplete(completion_pb2.CompleteRequest(prompt="Once"))
    result = await stage.read(stream)
    assert result.text == kept(result.turn) == (GOOD.text if goes_on else ELSEWHERE.text)
    assert [switch[3] for switch in result.switches] == [CONTINUED if goes_on else RESTARTED]
    assert stage.upstreams[1].calls[0].body["prompt"] == ("Once" + BEGINNING if goes_on else "Once")
    stage.audit(result)


@pytest.mark.parametrize(
    ("how", "answer", "fields"),
    [
        ("plain", Answer(tokens=WORDS, prefill=True), {}),
        ("prefix", Answer(tokens=WORDS, prefill=True), {}),
        ("prefix_echoed", Answer(tokens=WORDS), {}),
        (
            "continue",
            Answer(tokens=WORDS, prefill=True),
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ],
)
async def test_servers_go_on_in_their_own_ways(begin: Begin, how: str, answer: Answer, fields: dict[str, bool]) -> None:
    """The caller sees no difference."""
    stage = await begin(CUT, answer, on_cut="continue", more=prefill(how))
    result = await stage.ask()
    assert result.text == kept(result.turn) == GOOD.text
    assert [switch[3] for switch in result.switches] == [CONTINUED]
    body = stage.upstreams[1].calls[0].body
    expected = {"role": "assistant", "content": BEGINNING}
    assert body["messages"][-1] == (expected | {"prefix": True} if "prefix" in how else expected)
    assert {key: body.get(key) for key in fields} == fields
    stage.audit(result)


async def test_a_model_alone_goes_on_from_its_own_beginning(begin: Begin) -> None:
    """If it takes a prefill."""
    replies = in_turn(CUT, Answer(tokens=WORDS, prefill=True))
    stage = await begin(replies, on_cut="continue", more=prefill("plain", "first"))
    result = await stage.ask()
    assert result.text == kept(result.turn) == GOOD.text
    assert result.switches == [(f"first/{MODEL}", f"first/{MODEL}", "PROVIDER_STREAM_CUT", CONTINUED)]
    stage.audit(result)


async def test_json_begins_anew(begin: Begin) -> None:
    """The rest alone would be held to the whole form."""
    stage = await begin(CUT, Answer(tokens=WORDS, prefill=True), on_cut="continue", more=prefill("plain"))
    config = generation_pb2.GenerationConfig()
    config.response_format.json.SetInParent()
    result = await stage.ask(config=config)
    assert result.text == GOOD.text
    assert [switch[3] for switch in result.switches] == [RESTARTED]


async def test_reasoning_is_not_gone_on_from(begin: Begin) -> None:
    """Only text is: an answer that was cut while the model thought begins anew."""
    thinking = Answer(reasoning=("Let", " me", " see"), tokens=WORDS, fails_after=2, failure=(Close(),))
    stage = await begin(thinking, Answer(tokens=WORDS, prefill=True), on_cut="continue", more=prefill("plain"))
    result = await stage.ask()
    assert result.text == GOOD.text
    assert [switch[3] for switch in result.switches] == [RESTARTED]
    assert [part.WhichOneof("part") for part in result.turn.message.parts] == ["text"]


async def test_reasoning_before_the_text_stays(begin: Begin) -> None:
    """The next model goes on with the text, and the thoughts are those of the first."""
    thinking = Answer(reasoning=("Let", " me", " see"), tokens=WORDS, fails_after=3 + CUT_AFTER, failure=(Close(),))
    stage = await begin(thinking, Answer(tokens=WORDS, prefill=True), on_cut="continue", more=prefill("plain"))
    result = await stage.ask()
    assert result.text == GOOD.text
    assert [switch[3] for switch in result.switches] == [CONTINUED]
    reasoning, text = result.turn.message.parts
    assert (reasoning.reasoning, text.text) == ("Let me see", GOOD.text)


@pytest.mark.parametrize("on_cut", ["restart", "continue"])
async def test_half_a_tool_call_is_dropped(begin: Begin, on_cut: str) -> None:
    """Nobody goes on from one, and no caller is given one to run."""
    cut = Answer(tokens=WORDS, tools=(CALL,), fails_after=len(WORDS) + 2, failure=(Close(),))
    whole = Answer(tokens=(), tools=(CALL,), finish="tool_calls")
    stage = await begin(cut, whole, on_cut=on_cut, more=prefill("plain"))
    request = chat_pb2.ChatRequest(messages=[user("what is the weather")])
    request.tools.add(name="weather")
    result = await stage.read(stage.wire.chat.StreamChat(request))
    assert [switch[3] for switch in result.switches] == [RESTARTED]
    (part,) = result.turn.message.parts
    assert (part.tool_call.name, part.tool_call.arguments_json) == ("weather", "".join(CALL.arguments))
    assert result.events[-1].completed.finish_reason == message_pb2.FINISH_REASON_TOOL_CALLS
    stage.audit(result)
