"""Chats in pieces, through OpenAI's own client and on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from mcp_server.errors import ProviderStreamCut, ProviderUnavailable
from mcp_server.interfaces import Finish, RefusalDelta, TextDelta
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import RouteSettings
from mcp_server.testing import Gate, ScriptedProvider
from mcp_server.values import Capabilities, Logprob, Model
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import CALLING, HELLO, MODEL, USAGE, WEATHER, able

replace = msgspec.structs.replace


async def chunks_of(api: API, **parameters: Any) -> list[ChatCompletionChunk]:
    """All chunks of an answer."""
    stream = await api.client.chat.completions.create(
        **{"model": MODEL, "messages": HELLO, "stream": True, **parameters}
    )
    return [chunk async for chunk in stream]


async def test_an_answer_comes_in_chunks(start_api: StartAPI) -> None:
    """First the role, last the reason of the end; all with one id."""
    api = await start_api(p=able(["Good ", "day", Finish(usage=USAGE)]))
    chunks = await chunks_of(api)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-t")
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", MODEL)}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Good day"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [chunk.usage for chunk in chunks if chunk.usage] == []


async def test_each_piece_is_sent_when_it_is_there(start_api: StartAPI) -> None:
    """The caller reads the first one before the provider writes the second."""
    gate = Gate()
    api = await start_api(p=able(["Good ", gate, "day", Finish()]))
    stream = await api.client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    texts = []
    async for chunk in stream:
        texts.append(chunk.choices[0].delta.content)
        if texts[-1] == "Good ":
            await gate.reached.wait()
            gate.open()
    assert texts == ["", "Good ", "day", None]


async def test_the_last_chunk_has_the_usage(start_api: StartAPI) -> None:
    """If it is asked for; it has no choice."""
    api = await start_api(p=able(["a", Finish(usage=USAGE)]))
    *_, last = await chunks_of(api, stream_options={"include_usage": True})
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (11, 7, 18)


async def test_tool_calls_and_reasoning_come_in_chunks(start_api: StartAPI) -> None:
    """Each call has an index, and pieces of several calls may alternate."""
    api = await start_api(p=able(CALLING))
    chunks = await chunks_of(api, tools=[WEATHER])
    calls: dict[int, list[str]] = {}
    for piece in [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]:
        assert piece.function is not None
        if piece.id:
            assert piece.type == "function"
            calls[piece.index] = [piece.id, piece.function.name or "", ""]
        calls[piece.index][2] += piece.function.arguments or ""
    assert calls == {0: ["call_1", "weather", '{"city":"Rome"}'], 1: ["call_2", "weather", "{}"]}
    thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in chunks]
    assert "".join(thoughts) == "Rome, I think."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_the_client_puts_the_chunks_together(start_api: StartAPI) -> None:
    """Its helper makes the same answer of them as the whole one is."""
    api = await start_api(p=able([step for step in CALLING if getattr(step, "id", "") != "call_2"]))
    whole = await api.client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER])
    async with api.client.chat.completions.stream(model=MODEL, messages=HELLO, tools=[WEATHER]) as stream:
        streamed = await stream.get_final_completion()
    first, second = whole.choices[0], streamed.choices[0]
    assert second.finish_reason == first.finish_reason == "tool_calls"
    assert second.message.content == first.message.content == "Let me see."
    assert first.message.tool_calls is not None
    assert second.message.tool_calls is not None
    (call,), (streamed_call,) = first.message.tool_calls, second.message.tool_calls
    assert call.type == "function"
    assert (streamed_call.id, streamed_call.function.arguments) == (call.id, call.function.arguments)


async def test_refusals_and_log_probabilities_come_in_chunks(start_api: StartAPI) -> None:
    """Each in its own field."""
    piece = TextDelta(text="a", logprobs=(Logprob(token="a", logprob=-1.0),))
    api = await start_api(p=able([piece, RefusalDelta(text="No."), Finish()]))
    chunks = await chunks_of(api, logprobs=True)
    found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token.token for one in found for token in one.content or ()] == ["a"]
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == "No."


async def test_the_stream_is_of_server_sent_events(start_api: StartAPI) -> None:
    """With the right type, and ``[DONE]`` at the end; an answer without text has a role and an end."""
    api = await start_api(p=able([Finish()]))
    status, headers, text = await api.send("/chat/completions", {"model": MODEL, "messages": HELLO, "stream": True})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert headers["x-request-id"].startswith("req_")
    assert text.endswith("data: [DONE]\n\n")
    events = [line.removeprefix("data: ") for line in text.split("\n\n")[:-2]]
    assert [msgspec.json.decode(event)["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": ""},
        {},
    ]


async def test_a_silent_provider_does_not_look_like_a_lost_connection(start_api: StartAPI) -> None:
    """While nothing comes, comments do, which clients skip."""
    gate = Gate()
    config = plain_config(default_model=MODEL)
    config = replace(config, turns=replace(config.turns, heartbeat_interval=0.1))
    api = await start_api(config, p=able([gate, "late", Finish()]))
    stream = await api.client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=HELLO, stream=True
    ).__aenter__()
    lines = stream.iter_lines()
    assert await anext(lines) == ": keep-alive"
    gate.open()
    rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]
    assert '"content":"late"' in "".join(rest)
    await stream.close()


async def test_an_error_before_the_answer_has_its_own_status(start_api: StartAPI) -> None:
    """So that clients retry it as they would any other."""
    api = await start_api(p=able([ProviderUnavailable("the provider is down")]))
    with pytest.raises(openai.InternalServerError) as caught:
        await chunks_of(api)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "true"


async def test_an_error_within_the_answer_ends_the_stream(start_api: StartAPI) -> None:
    """OpenAI's client raises it; there is no ``[DONE]``."""
    gate = Gate()
    api = await start_api(p=able(["Good ", gate, ProviderStreamCut("the connection broke off")]))
    stream = await api.client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    texts = []
    with pytest.raises(openai.APIError, match="broke off") as caught:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content)
            gate.open()
    assert texts == ["", "Good "]
    assert caught.value.code == "provider_stream_cut"


async def test_another_model_continues_a_broken_answer(start_api: StartAPI) -> None:
    """The chunks say which model writes; what was sent stays, whatever the route says."""
    gate = Gate()
    able_to_continue = Model(name="b", capabilities=Capabilities(chat=True, prefill=True))
    first = able(["Good ", gate, ProviderStreamCut("cut")])
    second = ScriptedProvider(["day", Finish()], model=able_to_continue)
    config = plain_config(default_model="both")
    routes = {"both": RouteSettings(targets=(MODEL, "q/b"), on_cut="restart")}
    config = replace(config, models=replace(config.models, routes=routes))
    api = await start_api(config, p=first, q=second)
    stream = await api.client.chat.completions.create(model="both", messages=HELLO, stream=True)
    found = []
    async for chunk in stream:
        found.append((chunk.model, chunk.choices[0].delta.content))
        gate.open()
    assert found == [(MODEL, ""), (MODEL, "Good "), ("q/b", "day"), ("q/b", None)]


async def test_no_model_begins_a_broken_answer_anew(start_api: StartAPI) -> None:
    """What was sent cannot be taken back: the answer fails."""
    gate = Gate()
    first, second = able(["Good ", gate, ProviderStreamCut("cut")]), able(["Hello", Finish()])
    config = plain_config(default_model="both")
    routes = {"both": RouteSettings(targets=(MODEL, "q/able"), on_cut="restart")}
    config = replace(config, models=replace(config.models, routes=routes))
    api = await start_api(config, p=first, q=second)
    stream = await api.client.chat.completions.create(model="both", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="cut"):
        async for _ in stream:
            gate.open()
    assert second.requests == []


async def test_a_caller_that_leaves_stops_the_provider(start_api: StartAPI) -> None:
    """Without an Idempotency-Key nobody can come back."""
    provider = able(["Good ", Gate()])
    api = await start_api(p=provider)
    stream = await api.client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content == "Good ":
            break
    await stream.close()
    await asyncio.wait_for(provider.stopped.wait(), 10)
