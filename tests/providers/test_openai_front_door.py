"""Odd answers of servers as callers meet them: through the whole server, one or more of each class."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contextprotocol.v1 import chat_pb2, message_pb2, session_pb2
from mcp_server.interfaces import Finish, ReasoningDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.models.usage import Meter
from mcp_server.turns.answer import Answer
from mcp_server.turns.tools import fit_name
from mcp_server.values import Delta, Event
from tests.models.conftest import Begin, begin, seed
from tests.models.stage import ESTIMATED, FAILED, REPORTED, SUCCEEDED
from tests.providers.answers import CASES, SURROGATES, Failure, Whole
from tests.providers.test_openai_odd import reply
from tests.upstream.faults import WORDS
from tests.upstream.replies import Answer as Reply
from tests.upstream.replies import by_key, in_turn
from tests.wire import collect, user

__all__ = ["begin", "seed"]  # fixtures

GOOD = Reply(tokens=WORDS)
WHOLE = (
    "the whole message after its pieces",
    "two calls of one index without ids",
    "a name in pieces",
    "a byte order mark",
    "the end of a call without a call",
    "the older field",
    "open after the usage",
    "open after the finish reason",
    "an error after the finish reason",
    "the reason 'eos_token'",
    "the reason 'MAX_TOKENS'",
    "usage {'prompt_tokens': 12.2, 'completion_tokens': 2.9}",
    "usage {'prompt_tokens': -1, 'completion_tokens': 3}",
    "index of None",
    "an error of {'message': '', 'type': '', 'code': None}",
    "data of b'null'",
    "not a number",
    "reasoning as an object",
    "an empty answer",
    "a stream as application/json",
    "JSON as text/event-stream",
    *SURROGATES,
)


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_reaches_its_caller(begin: Begin, name: str) -> None:
    """With one call, its text once, and its tokens counted or estimated."""
    case = CASES[name]
    expected = case.expected
    assert isinstance(expected, Whole)
    stage = await begin(reply(case, [case.body[at : at + 7] for at in range(0, len(case.body), 7)]))
    async with asyncio.timeout(20):
        result = await stage.ask()
    assert result.refused is None
    assert result.turn.state == SUCCEEDED
    assert result.text == expected.text
    assert stage.calls == [1]
    (row,) = result.turn.attempts
    assert row.usage.source == (ESTIMATED if expected.usage is None else REPORTED)
    if expected.usage is not None:
        assert (row.usage.input_tokens, row.usage.output_tokens) == expected.usage
    parts = result.turn.message.parts
    assert "".join([part.reasoning for part in parts]) == expected.reasoning
    calls = [part.tool_call for part in parts if part.HasField("tool_call")]
    assert [call.name for call in calls] == [fit_name(name) for name, _ in expected.calls]
    arguments = [json.loads(call.arguments_json) if call.arguments_json else None for call in calls]
    assert arguments == [expected_arguments for _, expected_arguments in expected.calls]
    reason = message_pb2.FinishReason.Name(result.turn.finish_reason)
    assert reason.removeprefix("FINISH_REASON_") == expected.reason.name


OPERATORS = ("a key in a 400", "a region", "a key in an event", "an unknown model in a 400")


@pytest.mark.parametrize("name", OPERATORS)
async def test_the_next_provider_answers(begin: Begin, name: str) -> None:
    """Where the fault is the operator's."""
    stage = await begin(reply(CASES[name]), GOOD)
    assert (await stage.ask()).text == GOOD.text
    assert stage.calls == [1, 1]


@pytest.mark.parametrize("name", OPERATORS)
async def test_the_operators_fault_is_not_the_callers(begin: Begin, name: str) -> None:
    """The caller reads no word of the vendor about the account, in the error and in the turn."""
    result = await (await begin(reply(CASES[name]))).ask()
    expected = CASES[name].expected
    assert isinstance(expected, Failure)
    assert result.reason == expected.type.reason
    assert result.refused is not None
    shown = f"{result.refused.details} {result.turn}".lower()
    assert not [word for word in expected.hidden if word in shown]


@pytest.mark.parametrize("name", ["a key in a 400", "an unknown model in a 400"])
async def test_the_next_key_answers(begin: Begin, name: str) -> None:
    """Each try has its row."""
    keys = 'api_keys = ["sk-a", "sk-b"]'
    stage = await begin(by_key({"sk-a": reply(CASES[name])}, GOOD), provider=keys, max_attempts=1)
    result = await stage.ask()
    assert result.text == GOOD.text
    assert result.rows == [("first", FAILED, "PROVIDER_REJECTED"), ("first", SUCCEEDED, "")]


TOO_LONG = ("too long in an event", "too long behind another server", "too long in a 500")


@pytest.mark.parametrize("name", TOO_LONG)
async def test_what_is_too_long_is_the_callers(begin: Begin, name: str) -> None:
    """Where no larger model is. It opens no circuit breaker."""
    stage = await begin(in_turn(*[reply(CASES[name])] * 3, GOOD), routing={"circuit_failures": 1})
    for _ in range(3):
        assert (await stage.ask()).reason == "CONTEXT_TOO_LONG"
    assert (await stage.ask()).text == GOOD.text


@pytest.mark.parametrize("name", TOO_LONG)
async def test_what_is_too_long_goes_to_a_larger_model(begin: Begin, name: str) -> None:
    """If the route has one."""
    larger = {"first": "context_window = 8192", "second": "context_window = 16384"}
    stage = await begin(reply(CASES[name]), GOOD, models=larger)
    assert (await stage.ask()).text == GOOD.text


async def test_the_wait_in_a_body_is_kept(begin: Begin) -> None:
    """As if it were a header."""
    case = CASES["a wait in the body"]
    soon = replace(case, body=case.body.replace(b'"2.5s"', b'"0.6s"'))
    stage = await begin(in_turn(reply(soon), GOOD))
    before = asyncio.get_running_loop().time()
    assert (await stage.ask()).text == GOOD.text
    assert asyncio.get_running_loop().time() - before >= 0.6


async def test_the_vendors_words_about_the_content_are_read(begin: Begin) -> None:
    """Without addresses and keys."""
    result = await (await begin(reply(CASES["the caller's fault"]))).ask()
    assert result.reason == "INVALID_ARGUMENT"
    assert result.refused is not None
    assert "Invalid schema for function 'get_api_key': see ***, ***" in result.refused.details


async def test_an_empty_answer_is_not_sent_again(begin: Begin) -> None:
    """Strict servers refuse it."""
    stage = await begin(in_turn(reply(CASES["an empty answer"]), GOOD))
    session = await stage.wire.sessions.CreateSession(session_pb2.CreateSessionRequest())
    for text in ("one", "two"):
        request = chat_pb2.ChatRequest(session=session.name, messages=[user(text)])
        await collect(stage.wire.chat.StreamChat(request))
    sent = stage.upstreams[0].calls[1].body["messages"]
    assert [(message["role"], message["content"]) for message in sent] == [("user", "one"), ("user", "two")]


# -- halves of characters, from any provider --------------------------------------------------------------------------


def answered(*events: object) -> tuple[list[str], list[Event]]:
    """The texts of the parts that a provider's events make, and the events of the turn."""
    emitted: list[Event] = []
    answer = Answer(emitted.append, Meter())
    for event in events:
        answer.add(event)  # type: ignore[arg-type]  # any of them
    answer.add(Finish())
    return ["".join(part.pieces) for part in answer._parts], emitted


def halves(text: str, cuts: set[int]) -> list[str]:
    """The text cut in units of UTF-16."""
    units = text.encode("utf-16-le", "surrogatepass")
    places = [0, *sorted(2 * cut for cut in cuts if 0 < 2 * cut < len(units)), len(units)]
    return [units[start:stop].decode("utf-16-le", "surrogatepass") for start, stop in itertools.pairwise(places)]


@given(text=st.text(alphabet="a🦊é\u4e00😀"), cuts=st.sets(st.integers(1, 20)))
@settings(deadline=None)
def test_characters_are_joined_whoever_cut_them(text: str, cuts: set[int]) -> None:
    """What is emitted is what is kept."""
    texts, emitted = answered(*halves(text, cuts))
    assert "".join(texts) == text
    assert "".join([event.text for event in emitted if isinstance(event, Delta)]) == text


@given(st.lists(st.text(alphabet=["a", "\ud83d", "\ude00", "é"])))
@settings(deadline=None)
def test_lone_halves_are_replaced(pieces: list[str]) -> None:
    """As if they had come in one piece."""
    whole = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    texts, emitted = answered(*pieces)
    assert "".join(texts) == whole
    assert "".join([event.text for event in emitted if isinstance(event, Delta)]) == whole


def test_each_part_has_its_own_halves() -> None:
    """Parts of several kinds, and tool calls side by side."""
    texts, _ = answered(
        ReasoningDelta(text="\ud83d"),
        "\ude00 yes",
        ToolCallStart(id="a", name="f"),
        ToolCallStart(id="b", name="g"),
        ToolArgumentsDelta(id="a", text='"\ud83d'),
        ToolArgumentsDelta(id="b", text='"\ud83e'),
        ToolArgumentsDelta(id="a", text='\ude00"'),
        ToolArgumentsDelta(id="b", text='\udd8a"'),
    )
    assert texts == ["\ufffd", "\ufffd yes", '"😀"', '"🦊"']
