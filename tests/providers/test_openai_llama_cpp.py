"""The provider ``openai`` against a server that nobody here wrote: llama.cpp's own."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from mcp_server.errors import ContextTooLong, InvalidArgument
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, TextDelta
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.values import (
    FinishReason,
    Message,
    ResponseFormat,
    Role,
    Tool,
    ToolCall,
    ToolChoice,
    UsageSource,
)
from tests.providers.asking import chat, completion, joined, message_of
from tests.providers.conftest import events_of, text_of
from tests.small_models.llama_server import WINDOW, LlamaServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEATHER = Tool(
    name="get_weather",
    description="Tells the weather.",
    parameters_json='{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(model_file: Path) -> AsyncIterator[LlamaServer]:
    """One for all tests."""
    server = await LlamaServer.start(model_file)
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def remote(server: LlamaServer) -> AsyncIterator[OpenAIProvider]:
    """A provider as the documentation configures it."""
    models = {"m": OpenAIModel(prefill="plain", context_window=WINDOW)}
    provider = OpenAIProvider(OpenAISettings(base_url=server.url, keep_alive=False, models=models))
    yield provider
    await provider.close()


def called(city: str, id: str) -> Message:
    """The model asks for the weather."""
    return message_of(
        ToolCall(id=id, name="get_weather", arguments_json=json.dumps({"city": city})), role=Role.ASSISTANT
    )


GREEDY: dict[str, Any] = {"temperature": 0, "max_output_tokens": 24}


@pytest.mark.parametrize("request_", [chat("Count: one, two,", config=GREEDY), completion("One, two,", GREEDY)])
async def test_an_answer_streams(remote: OpenAIProvider, request_: GenerateRequest) -> None:
    """In pieces, with the reason of its end and its usage, the same each time."""
    events = await events_of(remote, request_)
    assert len(events) > 5
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.usage is not None
    assert finish.usage.source is UsageSource.REPORTED
    assert finish.usage.input_tokens > 0
    assert (finish.reason is FinishReason.LENGTH) == (finish.usage.output_tokens == 24)
    assert text_of(await events_of(remote, request_)) == text_of(events)


async def test_many_answers_stream_at_once(remote: OpenAIProvider) -> None:
    """More than the server works on at a time, one after the other on the same provider."""
    requests = [completion(f"{number}, {number + 1},", GREEDY) for number in range(6)]
    answers = await asyncio.gather(*[events_of(remote, request) for request in requests])
    assert [isinstance(events[-1], Finish) for events in answers] == [True] * 6
    assert len({text_of(events) for events in answers}) > 1


async def test_a_tool_is_called(remote: OpenAIProvider) -> None:
    """The call streams: its name first, then its arguments in pieces, by which the model keeps to their schema."""
    request = chat(
        *("weather in Rome", called("Rome", "1"), "weather in Oslo", called("Oslo", "2"), "weather in Paris"),
        config={**GREEDY, "max_output_tokens": 60},
        tools=(WEATHER,),
        tool_choice=ToolChoice(mode="required"),
    )
    events = await events_of(remote, request)
    assert len(events) > 4
    start, arguments, finish = joined(events)
    assert start.name == "get_weather"  # type: ignore[union-attr]  # it is a ToolCallStart, or has no name
    assert json.loads(arguments.text) == {"city": "Paris"}  # type: ignore[union-attr]  # as above
    assert isinstance(finish, Finish)
    assert finish.reason is FinishReason.TOOL_CALLS


async def test_an_answer_keeps_to_a_schema(remote: OpenAIProvider) -> None:
    """Strictly."""
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    config = {**GREEDY, "response_format": ResponseFormat.JSON_SCHEMA, "json_schema": json.dumps(schema)}
    text = text_of((await events_of(remote, chat("Ann is 30. Describe her as JSON.", config=config)))[:-1])
    assert isinstance(json.loads(text)["age"], int)


@pytest.mark.parametrize("top", [0, 2])
async def test_tokens_have_their_probabilities(remote: OpenAIProvider, top: int) -> None:
    """And as many others as were asked for, in chats and completions."""
    config = {"max_output_tokens": 4, "temperature": 0, "logprobs": top}
    for request in (chat(config=config), completion("One, two,", config)):
        events = await events_of(remote, request)
        tokens = [logprob for event in events if isinstance(event, TextDelta) for logprob in event.logprobs]
        assert "".join([token.token for token in tokens]) == text_of(events[:-1])
        assert {len(token.top) for token in tokens} == {top}


async def test_an_answer_goes_on_from_its_beginning(remote: OpenAIProvider) -> None:
    """With what is new alone."""
    beginning = message_of("The capital of France is the city of", role=Role.ASSISTANT)
    events = await events_of(remote, chat("What is the capital of France?", beginning, config=GREEDY))
    assert text_of(events[:-1]).strip().startswith("Paris")


async def test_options_of_the_server_s_own_reach_it(remote: OpenAIProvider) -> None:
    """A grammar of llama.cpp's, which no other server knows."""
    options = {"grammar": 'root ::= "yes" | "no"'}
    events = await events_of(remote, chat("Is water wet?", config=GREEDY, provider_options=options))
    assert text_of(events[:-1]) in ("yes", "no")


async def test_texts_become_vectors(remote: OpenAIProvider) -> None:
    """As many as there are texts, in their order, of length 1, and alike for texts that are alike."""
    inputs = ("zebra", "apple pie", "zebra")
    made = await remote.embed(EmbedRequest(model="m", inputs=inputs))
    first, other, same = [list(vector) for vector in made.vectors]
    assert first == pytest.approx(same, abs=1e-3)
    assert first != pytest.approx(other, abs=1e-3)
    assert math.hypot(*first) == pytest.approx(1, abs=1e-3)
    assert made.usage.input_tokens >= len(inputs)


async def test_a_prompt_that_is_too_long_is_told_as_that(remote: OpenAIProvider) -> None:
    """By llama.cpp's own code."""
    with pytest.raises(ContextTooLong):
        await events_of(remote, chat("word " * WINDOW * 2))


async def test_a_bad_request_is_told_as_that(remote: OpenAIProvider) -> None:
    """With the server's words."""
    with pytest.raises(InvalidArgument, match="status 400"):
        await events_of(remote, chat(provider_options={"grammar": "no grammar"}))


async def test_an_answer_that_is_closed_stops_the_work(remote: OpenAIProvider, server: LlamaServer) -> None:
    """Within a second the server works on nothing any more."""
    request = completion(config={"max_output_tokens": 1500}, provider_options={"ignore_eos": True})
    async with aclosing(remote.generate(request)) as events:  # type: ignore[type-var]  # it is a generator
        async for _ in events:
            break
        assert await _busy(server)
    async with asyncio.timeout(1):
        while await _busy(server):
            pass  # asking takes its time


async def _busy(server: LlamaServer) -> bool:
    """Whether it works on anything."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url.removesuffix('/v1')}/slots") as response:
        return any(slot["is_processing"] for slot in await response.json())
