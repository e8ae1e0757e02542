"""What the provider ``openai`` makes of a server's answers, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Mapping
from typing import Any

import pytest

from mcp_server.errors import MCPError, ProviderUnavailable
from mcp_server.interfaces import (
    EmbedRequest,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.providers.http.events import EventStream
from mcp_server.providers.openai import tolerant
from mcp_server.providers.openai.chunks import CHUNKS, END
from mcp_server.providers.openai.reading import Reading
from mcp_server.providers.openai.settings import OpenAIModel
from mcp_server.values import (
    FinishReason,
    Logprob,
    Role,
    Usage,
    UsageSource,
)
from tests.providers.asking import asking, chat, completion, events_of, joined, lines, message_of, pieces
from tests.upstream import replies
from tests.upstream.replies import Answer, Body, End, Head, Reply, Steps


async def test_thoughts_and_words_are_told_apart() -> None:
    """By either name of the field, and in the parts of Mistral's contents."""
    for field in ("reasoning_content", "reasoning"):
        events = await events_of(pieces({field: "Hm"}, {field: ", yes"}, {"content": "Yes"}))
        assert events[:2] == [ReasoningDelta(text="Hm, yes"), "Yes"]
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Yes"}]
    assert (await events_of(pieces({"content": thinking})))[:2] == [ReasoningDelta(text="Hm"), "Yes"]


async def test_a_refusal_is_told_apart() -> None:
    """From words that do not decline."""
    events = await events_of(pieces({"refusal": "I "}, {"refusal": "won't"}))
    assert "".join([event.text for event in events if isinstance(event, RefusalDelta)]) == "I won't"


def call(index: int | None, id: str | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    """A piece of a tool call; what is ``None`` is left out."""
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    return {
        key: value
        for key, value in {"index": index, "id": id, "function": function or None}.items()
        if value is not None
    }


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(
            [
                [call(0, "a", "add", "")],
                [call(1, "b", "mul", "")],
                [call(0, arguments='{"x"'), call(1, arguments='{"y"')],
                [call(1, arguments=": 2}")],
                [call(0, arguments=": 1}")],
            ],
            id="side by side",
        ),
        pytest.param(
            [[call(None, "a", "add", '{"x": 1}')], [call(None, "b", "mul", '{"y"')], [call(None, arguments=": 2}")]],
            id="without an index",
        ),
        pytest.param(
            [[call(0, "a", "add", '{"x": 1}')], [call(0, "b", "mul", '{"y"')], [call(0, arguments=": 2}")]],
            id="all of one index",
        ),
        pytest.param(
            [[call(0, "a", "add", '{"x"')], [call(0, "a", "add", ": 1}")], [call(1, "b", "mul", '{"y": 2}')]],
            id="with the name in each piece",
        ),
        pytest.param(
            [
                [call(0, "a")],
                [call(0, None, None, '{"x"')],
                [call(0, None, "add", ": 1}"), call(1, "b", "mul", '{"y": 2}')],
            ],
            id="with the name late",
        ),
    ],
)
async def test_tool_calls_are_put_together_however_they_come(given: list[list[dict[str, Any]]]) -> None:
    """Each has its own id, name and arguments, and the answer waits for tools."""
    events = await events_of(pieces(*[{"tool_calls": calls} for calls in given], finish="tool_calls"))
    names = {event.id: event.name for event in events if isinstance(event, ToolCallStart)}
    arguments = dict.fromkeys(names, "")
    for event in events:
        if isinstance(event, ToolArgumentsDelta):
            arguments[event.id] += event.text
    assert names == {"a": "add", "b": "mul"}
    assert {id: json.loads(text) for id, text in arguments.items()} == {"a": {"x": 1}, "b": {"y": 2}}
    assert isinstance(events[-1], Finish)
    assert events[-1].reason is FinishReason.TOOL_CALLS


async def test_tool_calls_without_ids_get_some() -> None:
    """Different ones, also where the server gives one twice; arguments may be an object; the end is that of a call."""
    events = await events_of(
        pieces(
            {"tool_calls": [call(0, None, "one", {"a": 1})]},
            {"tool_calls": [call(1, "x", "two", "{}")]},
            {"tool_calls": [call(2, "x", "three", "{}")]},
        )
    )
    ids = [event.id for event in events if isinstance(event, ToolCallStart)]
    assert len(set(ids)) == 3
    assert all(ids)
    assert events[1] == ToolArgumentsDelta(id=ids[0], text='{"a":1}')
    assert events[-1] == Finish(reason=FinishReason.TOOL_CALLS)


async def test_probabilities_belong_to_their_text() -> None:
    """In the two forms that servers have."""
    token = {
        "token": "Yes",
        "logprob": -0.5,
        "top_logprobs": [{"token": "Yes", "logprob": -0.5}, {"token": "No", "logprob": -1}],
    }
    expected = TextDelta(
        text="Yes", logprobs=(Logprob(token="Yes", logprob=-0.5, top=(Logprob(token="Yes", logprob=-0.5),)),)
    )
    reply = lines(
        {"delta": {"content": "Yes"}, "logprobs": {"content": [token]}}, {"delta": {}, "finish_reason": "stop"}
    )
    assert (await events_of(reply, chat(config={"logprobs": 1})))[0] == expected
    older = {"tokens": ["Yes"], "token_logprobs": [-0.5], "top_logprobs": [{"No": -1.0, "Yes": -0.5}]}
    reply = lines({"text": "Yes", "logprobs": older}, {"text": "", "finish_reason": "stop"})
    assert (await events_of(reply, completion(config={"logprobs": 1})))[0] == expected
    assert (await events_of(reply, completion()))[0] == "Yes"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(
                input_tokens=10,
                cached_input_tokens=4,
                cache_write_tokens=2,
                output_tokens=7,
                reasoning_tokens=5,
                source=UsageSource.REPORTED,
            ),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": None, "prompt_cache_hit_tokens": 3},
            Usage(input_tokens=10, cached_input_tokens=3, output_tokens=7, source=UsageSource.REPORTED),
        ),
    ],
)
async def test_usage_is_told_in_all_its_kinds(usage: dict[str, Any], expected: Usage) -> None:
    """Cached, written to the cache, and thought."""
    assert (await events_of(pieces({"content": "x"}, usage=usage)))[-1] == Finish(usage=expected)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
    ],
)
async def test_the_end_has_its_reason(finish: str, reason: FinishReason) -> None:
    """In this project's words."""
    assert (await events_of(pieces({"content": "x"}, finish=finish)))[-1] == Finish(reason=reason)


async def test_what_says_nothing_changes_nothing() -> None:
    """Some servers write null or nothing where others leave a field out, also after the end."""
    empty = {"delta": {"content": None, "tool_calls": None, "refusal": ""}, "finish_reason": "", "logprobs": None}
    reply = lines(empty, {"delta": {"content": "x"}}, {"delta": None, "finish_reason": "stop"}, empty, choices=None)
    assert await events_of(reply) == ["x", Finish()]


async def test_only_the_first_of_several_answers_is_read() -> None:
    """Those that nobody can ask for are left aside."""
    reply = lines(
        {"delta": {"content": "one"}}, {"index": 1, "delta": {"content": "two"}}, {"delta": {}, "finish_reason": "stop"}
    )
    assert (await events_of(reply))[0] == "one"


async def test_what_is_repeated_of_the_beginning_is_not_new() -> None:
    """Where the server is configured to do so, and only as far as it does."""
    models = {"m": OpenAIModel(prefill="prefix_echoed")}
    request = chat("Why?", message_of("Because it", role=Role.ASSISTANT))
    for given, new in {
        ("Becau", "se it", " is."): " is.",
        ("Because it is.",): " is.",
        ("Be", "fore."): "Before.",
    }.items():
        events = await events_of(pieces(*[{"content": piece} for piece in given]), request, models=models)
        assert events[0] == new


async def test_an_answer_may_come_in_one_piece() -> None:
    """From servers that cannot stream: text, thoughts, calls and usage."""
    whole = {
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Yes",
                    "reasoning_content": "Hm",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    reply = Steps((Head(content_type="application/json"), Body(json.dumps(whole).encode()), End()))
    assert await events_of(reply) == [
        ReasoningDelta(text="Hm"),
        "Yes",
        ToolCallStart(id="a", name="add"),
        ToolArgumentsDelta(id="a", text="{}"),
        Finish(
            reason=FinishReason.TOOL_CALLS,
            usage=Usage(input_tokens=1, output_tokens=2, source=UsageSource.REPORTED),
        ),
    ]


ODD = (
    b": a comment\n\nevent: message\nid: 7\ndata: "
    + json.dumps({"choices": [{"delta": {"content": "Grüße [DONE] \ndata: x 🦊"}}]}, ensure_ascii=False).encode()
    + b"\r\n\r\nretry: 10\n\ndata:"
    + json.dumps({"choices": [{"delta": {"content": "!"}, "finish_reason": "stop"}]}).encode()
    + b"\n\n: another\n\ndata: [DONE]"
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 64, len(ODD)])
def test_a_stream_is_read_however_it_is_cut(size: int) -> None:
    """Comments, other fields, both line ends, missing spaces and a missing last line end make no difference."""
    stream, reading = EventStream(CHUNKS, end=END, odd=tolerant.chunks), Reading(logprobs=None)
    events = []
    for start in range(0, len(ODD), size):
        events += reading.take(stream.feed(ODD[start : start + size]))
    events += reading.take(stream.feed(b"\n"))
    assert joined(events) == ["Grüße [DONE] \ndata: x 🦊!"]
    assert stream.done
    assert not stream.problem
    assert reading.finish() == Finish()


@pytest.mark.parametrize("short", [True, False])
async def test_vectors_come_in_the_order_of_their_texts(short: bool) -> None:
    """As base64 where the server knows it, and as numbers where it does not."""
    async with asking(base64_embeddings=short) as (provider, upstream):
        made = await provider.embed(EmbedRequest(model="m", inputs=("abba", "cab"), dimensions=8))
    assert [list(vector) for vector in made.vectors] == [[2, 2, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]]
    assert made.usage == Usage(input_tokens=2, source=UsageSource.REPORTED)
    encoding = {"encoding_format": "base64"} if short else {}
    assert upstream.calls[0].body == {"model": "m", "input": ["abba", "cab"], "dimensions": 8, **encoding}


def vectors(*data: Mapping[str, Any]) -> Steps:
    """An answer with these vectors."""
    return Steps((Head(content_type="application/json"), Body(json.dumps({"data": data}).encode()), End()))


async def test_vectors_out_of_order_are_sorted() -> None:
    """By the index that the server gives them."""
    reply = vectors({"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]})
    async with asking(reply) as (provider, _):
        made = await provider.embed(EmbedRequest(model="m", inputs=("a", "b")))
    assert [list(vector) for vector in made.vectors] == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "reply",
    [
        vectors({"index": 0, "embedding": [1.0]}),
        vectors({"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}),
        vectors({"index": 0, "embedding": "?"}, {"index": 1, "embedding": "?"}),
        vectors({"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}),
        Steps((Head(content_type="text/html"), Body(b"<html>"), End())),
    ],
)
async def test_bad_vectors_are_no_answer(reply: Reply) -> None:
    """Too few, of different lengths, or none at all."""
    async with asking(reply) as (provider, _):
        with pytest.raises(ProviderUnavailable):
            await provider.embed(EmbedRequest(model="m", inputs=("a", "b")))


async def test_closing_the_answer_closes_the_connection_at_once() -> None:
    """The server sees it within a second, in the middle of an answer."""
    async with asking(Answer(tokens=("word ",) * 1000, pause=0.01)) as (provider, upstream):
        events = provider.generate(chat())
        assert await anext(aiter(events)) == "word "
        before = asyncio.get_running_loop().time()
        await events.aclose()  # type: ignore[attr-defined]  # it is a generator
        (call,) = upstream.calls
        await call.ended.wait()
        assert call.left is not None
        assert call.left - before < 1
        await upstream.deserted()


async def test_an_answer_that_is_complete_leaves_its_connection_to_the_next() -> None:
    """Also where the end of the body comes after the last event."""
    slow = Steps((*pieces({"content": "x"}).sequence[:-1], replies.Wait(0.05), End()))
    async with asking(slow) as (provider, upstream):
        for _ in range(3):
            assert isinstance([event async for event in provider.generate(chat())][-1], Finish)
            await upstream.idle()
        assert upstream.connections == 1


async def test_connections_to_servers_that_close_them_are_not_used_again() -> None:
    """By configuration: some close a connection behind an answer without a word."""
    closing = Steps((*pieces({"content": "x"}).sequence[:-1], replies.Raw(b"0\r\n\r\n"), replies.Close()))
    async with asking(closing, keep_alive=False) as (provider, upstream):
        for _ in range(20):
            assert isinstance([event async for event in provider.generate(chat())][-1], Finish)
        assert upstream.connections == 20


def test_closing_ends_the_bodies_of_whole_answers() -> None:
    """A connection whose server has not ended the body after its end mark is not left to the garbage collector."""
    unended = Steps((*pieces({"content": "x"}).sequence[:-1], replies.Hang()))
    assert asyncio.run(events_of(unended)) == ["x", Finish()]
    gc.collect()  # an open connection warns here


async def test_an_answer_that_is_complete_and_does_not_end_is_let_go() -> None:
    """Nobody waits for it, and its connection is closed."""
    endless = Steps((*pieces({"content": "x"}).sequence[:-1], replies.Hang()))
    async with asking(endless) as (provider, upstream):
        assert isinstance([event async for event in provider.generate(chat())][-1], Finish)
        await upstream.idle()
        assert upstream.calls[0].left is not None


async def test_a_provider_that_is_closed_answers_no_more() -> None:
    """Neither what runs nor what comes."""
    async with asking(Answer(tokens=("word ",) * 1000, pause=0.01)) as (provider, upstream):
        events = aiter(provider.generate(chat()))
        assert await anext(events) == "word "
        await provider.close()
        with pytest.raises(MCPError):
            while await anext(events):
                pass
        with pytest.raises(ProviderUnavailable, match="closed"):
            await anext(aiter(provider.generate(chat())))
        await upstream.deserted()
