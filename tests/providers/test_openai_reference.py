"""The provider ``openai`` beside OpenAI's own client: one server gets the same from both, and both read it alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from mcp_server.errors import MCPError
from mcp_server.interfaces import EmbedRequest, Finish, GenerateRequest, RefusalDelta, ToolArgumentsDelta, ToolCallStart
from mcp_server.providers.openai.provider import OpenAIProvider
from mcp_server.providers.openai.settings import OpenAISettings
from mcp_server.settings import Secret
from mcp_server.values import (
    FinishReason,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.providers.asking import chat, completion, joined, lines, message_of, pieces
from tests.upstream.books import Call
from tests.upstream.faults import FAULTS
from tests.upstream.replies import Answer, Reply, Vectors, in_turn
from tests.upstream.server import Upstream

KEY = "sk-reference"
MODEL = "gpt-4.1-mini"
API_VERSION = "2024-10-21"
COMPARED = ("authorization", "api-key", "openai-organization", "openai-project", "content-type")
"""The headers that mean something to the server."""
SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}}'

CHATS: Mapping[str, tuple[GenerateRequest, dict[str, Any]]] = {
    "plain": (
        chat(message_of("Be brief.", role=Role.SYSTEM), "Why?"),
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]},
    ),
    "sampling parameters": (
        chat(
            config={
                "temperature": 0.5,
                "top_p": 0.25,
                "max_output_tokens": 9,
                "stop": ("a",),
                "seed": 3,
                "frequency_penalty": 0.5,
                "presence_penalty": -0.5,
                "logprobs": 2,
            }
        ),
        {
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5,
            "top_p": 0.25,
            "max_tokens": 9,
            "stop": ["a"],
            "seed": 3,
            "frequency_penalty": 0.5,
            "presence_penalty": -0.5,
            "logprobs": True,
            "top_logprobs": 2,
        },
    ),
    "schema": (
        chat(config={"response_format": ResponseFormat.JSON_SCHEMA, "json_schema": SCHEMA}),
        {
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": json.loads(SCHEMA)},
            },
        },
    ),
    "tools": (
        chat(
            "How warm is it in Rome?",
            message_of(ToolCall(id="c1", name="weather", arguments_json='{"city": "Rome"}'), role=Role.ASSISTANT),
            message_of(ToolResult(tool_call_id="c1", parts=(Text(text="21"),)), role=Role.TOOL),
            tools=(Tool(name="weather", description="Tells it.", parameters_json=SCHEMA, strict=True),),
            tool_choice=ToolChoice(mode="required", name="weather", parallel=False),
        ),
        {
            "messages": [
                {"role": "user", "content": "How warm is it in Rome?"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "21"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "weather",
                        "description": "Tells it.",
                        "parameters": json.loads(SCHEMA),
                        "strict": True,
                    },
                }
            ],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        },
    ),
}
"""A request, and the arguments with which OpenAI's client says the same."""


class Server:
    """One server, and both clients of it."""

    def __init__(self, upstream: Upstream, provider: OpenAIProvider, client: openai.AsyncOpenAI) -> None:
        self.upstream = upstream
        self.provider = provider
        self.client = client

    def both(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the provider sent, and what the client did."""
        ours, theirs = self.upstream.calls
        return _compared(ours), _compared(theirs)


@asynccontextmanager
async def serving(reply: Reply, *, azure: bool = False) -> AsyncIterator[Server]:
    """A server that gives everybody this answer."""
    async with Upstream(in_turn(reply)) as upstream:
        options: dict[str, Any] = {"organization": "org-1", "project": "proj-1"}
        client: openai.AsyncOpenAI
        if azure:
            address = f"http://127.0.0.1:{upstream.port}"
            client = openai.AsyncAzureOpenAI(
                azure_endpoint=address, api_version=API_VERSION, api_key=KEY, max_retries=0, **options
            )
            options |= {"api_version": API_VERSION}
        else:
            address = upstream.url
            client = openai.AsyncOpenAI(base_url=address, api_key=KEY, max_retries=0, **options)
        provider = OpenAIProvider(OpenAISettings(base_url=address, api_key=Secret(KEY), **options))
        async with client:
            yield Server(upstream, provider, client)
        await provider.close()


def _compared(call: Call) -> dict[str, Any]:
    headers = {name: call.headers[name] for name in COMPARED if name in call.headers}
    return {"method": call.method, "path": call.path, "query": call.query, "body": call.body, **headers}


async def everything(provider: OpenAIProvider, request: GenerateRequest) -> list[Any]:
    """All events."""
    return joined([event async for event in provider.generate(request)])


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_is_asked_as_the_client_asks_it(name: str, azure: bool) -> None:
    """Address, keys, organization and body, also of Azure's deployments."""
    request, arguments = CHATS[name]
    request = GenerateRequest(**{**{key: getattr(request, key) for key in request.__struct_fields__}, "model": MODEL})
    async with serving(pieces({"content": "x"}), azure=azure) as server:
        await everything(server.provider, request)
        stream = await server.client.chat.completions.create(
            model=MODEL, stream=True, stream_options={"include_usage": True}, **arguments
        )
        async for _ in stream:
            pass
        ours, theirs = server.both()
    assert ours == theirs
    assert KEY in ours["api-key" if azure else "authorization"]


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
async def test_a_completion_is_asked_as_the_client_asks_it(azure: bool) -> None:
    """With a suffix."""
    async with serving(lines({"text": "x", "finish_reason": "stop"}), azure=azure) as server:
        await everything(server.provider, completion("Once", {"max_output_tokens": 4}, suffix=" end"))
        stream = await server.client.completions.create(
            model="m", prompt="Once", suffix=" end", max_tokens=4, stream=True, stream_options={"include_usage": True}
        )
        async for _ in stream:
            pass
        ours, theirs = server.both()
    assert ours == theirs


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
async def test_vectors_are_asked_and_read_as_the_client_does(azure: bool) -> None:
    """The client too asks for base64, and both unpack the same numbers."""
    async with serving(Vectors(), azure=azure) as server:
        made = await server.provider.embed(EmbedRequest(model="m", inputs=("abba", "cab"), dimensions=8))
        response = await server.client.embeddings.create(model="m", input=["abba", "cab"], dimensions=8)
        ours, theirs = server.both()
    assert ours == theirs
    assert [list(vector) for vector in made.vectors] == [item.embedding for item in response.data]
    assert made.usage.input_tokens == response.usage.prompt_tokens


def call(index: int, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    """A piece of a tool call."""
    head = {"id": id, "type": "function"} if id else {}
    return {"index": index, **head, "function": {**({"name": name} if name else {}), "arguments": arguments}}


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
ANSWERS: Mapping[str, Reply] = {
    "text": Answer(),
    "unicode": pieces({"content": "Grüße 🦊"}, {"content": " \u2028 \\n \n data: x"}, {"content": ""}, usage=USAGE),
    "refusal": pieces({"refusal": "I "}, {"refusal": "won't."}, usage=USAGE),
    "tools": pieces(
        {"role": "assistant", "content": None},
        {"tool_calls": [call(0, "a", "add", "")]},
        {"tool_calls": [call(1, "b", "mul", "{")]},
        {"tool_calls": [call(0, None, None, '{"x": 1}'), call(1, None, None, '"y": ')]},
        {"tool_calls": [call(1, None, None, "2}")]},
        finish="tool_calls",
        usage=USAGE,
    ),
    "limit": pieces({"content": "cut of"}, finish="length", usage=USAGE),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_read_as_the_client_reads_it(name: str) -> None:
    """Text, refusals, tool calls, the reason of the end, and the usage."""
    async with serving(ANSWERS[name]) as server:
        events = await everything(server.provider, chat())
        stream = await server.client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    finish = events[-1]
    assert isinstance(finish, Finish)
    calls = {event.id: event.name for event in events if isinstance(event, ToolCallStart)}
    arguments = dict.fromkeys(calls, "")
    for event in events:
        if isinstance(event, ToolArgumentsDelta):
            arguments[event.id] += event.text
    ours = {
        "text": "".join([event for event in events if isinstance(event, str)]),
        "refusal": "".join([event.text for event in events if isinstance(event, RefusalDelta)]),
        "calls": {id: (name, arguments[id]) for id, name in calls.items()},
        "reason": finish.reason,
    }
    assert ours == _folded(chunks)
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert finish.usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    assert finish.usage.cached_input_tokens == usage.prompt_tokens_details.cached_tokens
    assert finish.usage.cache_write_tokens == (usage.prompt_tokens_details.cache_write_tokens or 0)
    assert finish.usage.reasoning_tokens == usage.completion_tokens_details.reasoning_tokens


def _folded(chunks: list[ChatCompletionChunk]) -> dict[str, Any]:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    calls: dict[int, tuple[str, str, str]] = {}
    for piece in [piece for choice in choices for piece in choice.delta.tool_calls or ()]:
        assert piece.function is not None
        id, name, arguments = calls.get(piece.index, ("", "", ""))
        calls[piece.index] = (
            id + (piece.id or ""),
            name + (piece.function.name or ""),
            arguments + (piece.function.arguments or ""),
        )
    (reason,) = [choice.finish_reason for choice in choices if choice.finish_reason]
    return {
        "text": "".join([choice.delta.content or "" for choice in choices]),
        "refusal": "".join([choice.delta.refusal or "" for choice in choices]),
        "calls": {id: (name, arguments) for id, name, arguments in calls.values()},
        "reason": FinishReason(reason),
    }


REFUSED = ("400", "401", "402", "403", "429", "500", "503", "context too long", "content refused", "no such model")


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_one_to_both(name: str) -> None:
    """The same status and the same code of the vendor."""
    async with serving(FAULTS[name]) as server:
        with pytest.raises(MCPError) as ours:
            await everything(server.provider, chat())
        with pytest.raises(openai.APIStatusError) as theirs:
            await server.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert ours.value.metadata["status"] == str(theirs.value.status_code)
    assert ours.value.metadata["code"] == (theirs.value.code or theirs.value.type)
