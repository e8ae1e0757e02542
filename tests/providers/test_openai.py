"""The provider ``openai``: what it asks a server, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contextprotocol.v1 import chat_pb2
from mcp_server.errors import InvalidArgument, MCPError, ModelNotFound, UnsupportedByModel
from mcp_server.interfaces import (
    GenerateRequest,
)
from mcp_server.providers.openai.settings import OpenAIModel, OpenAISettings
from mcp_server.settings import load
from mcp_server.values import (
    Blob,
    Capabilities,
    GenerationConfig,
    Message,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.conftest import Serve
from tests.providers.asking import asking, body_of, chat, completion, message_of
from tests.upstream.replies import Answer, in_turn
from tests.upstream.server import Upstream
from tests.wire import collect, deltas, user

SETTINGS = """
[server]
address = "127.0.0.1:0"

[store]
type = "memory"

[metrics]
address = ""

[providers.remote]
type = "openai"
base_url = "{url}"
api_key = "sk-test"
models.small = {{ context_window = 8192 }}
"""

ADD = Tool(name="add", description="Adds.", parameters_json='{"type": "object", "properties": {"a": {}}}')
PNG = Blob(mime_type="image/png", data=b"\x89PNG")
PNG_URL = "data:image/png;base64,iVBORw=="


# -- from the settings to the caller ----------------------------------------------------------------------------------


async def test_a_configured_server_answers_a_stream(serve: Serve, tmp_path: Path) -> None:
    """From a file of settings to a stream over gRPC: text, usage and a connection that is used again."""
    async with Upstream(in_turn(Answer(tokens=("Good", " day")))) as upstream:
        (tmp_path / "settings.toml").write_text(SETTINGS.format(url=upstream.url))
        wire = await serve(load(tmp_path / "settings.toml", {}))
        for _ in range(2):
            events = await collect(wire.chat.StreamChat(chat_pb2.ChatRequest(messages=[user("hello there")])))
            assert deltas(events) == "Good day"
            assert events[-1].completed.usage.output_tokens == 2
        assert upstream.connections == 1
        assert {call.key for call in upstream.calls} == {"sk-test"}
        assert upstream.calls[0].body == {
            "model": "small",
            "messages": [{"role": "user", "content": "hello there"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }


# -- what is asked ----------------------------------------------------------------------------------------------------

KNOBS = {
    "temperature": 0.5,
    "top_p": 0.9,
    "stop": ("a", "b"),
    "seed": 7,
    "frequency_penalty": -1.0,
    "presence_penalty": 1.5,
}
SENT_KNOBS = {**KNOBS, "stop": ["a", "b"]}
SCHEMA = '{"type": "object", "properties": {"big": {"const": 12345678901234567890}}}'


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (chat(config=KNOBS), SENT_KNOBS),
        (completion(config=KNOBS), SENT_KNOBS),
        (completion(suffix=" end"), {"suffix": " end"}),
        (chat(config={"max_output_tokens": 5}), {"max_tokens": 5}),
        (completion(config={"max_output_tokens": 5}), {"max_tokens": 5}),
        (chat(config={"logprobs": 0}), {"logprobs": True}),
        (chat(config={"logprobs": 3}), {"logprobs": True, "top_logprobs": 3}),
        (completion(config={"logprobs": 0}), {"logprobs": 1}),
        (chat(config={"response_format": ResponseFormat.JSON}), {"response_format": {"type": "json_object"}}),
        (
            chat(config={"response_format": ResponseFormat.JSON_SCHEMA, "json_schema": SCHEMA}),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": json.loads(SCHEMA)},
                }
            },
        ),
        (
            chat(tools=(ADD, Tool(name="now"))),
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "add",
                            "description": "Adds.",
                            "parameters": {"type": "object", "properties": {"a": {}}},
                        },
                    },
                    {"type": "function", "function": {"name": "now"}},
                ]
            },
        ),
        (chat(tools=(ADD,), tool_choice=ToolChoice(mode="none")), {"tool_choice": "none"}),
        (
            chat(tools=(ADD,), tool_choice=ToolChoice(mode="required", name="add")),
            {"tool_choice": {"type": "function", "function": {"name": "add"}}},
        ),
        (
            chat(config={"temperature": 0.5}, provider_options={"temperature": 0.7, "top_k": 40}),
            {"temperature": 0.7, "top_k": 40},
        ),
    ],
)
async def test_a_request_is_worded_as_the_protocol_has_it(request_: GenerateRequest, expected: dict[str, Any]) -> None:
    """Each field by its name there, and none that was not asked for."""
    body = await body_of(request_)
    always = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    always |= {"messages": [{"role": "user", "content": "hi"}]} if request_.prompt is None else {"prompt": "Once"}
    more = {"tools": body["tools"]} if "tool_choice" in expected else {}
    assert body == {**always, **more, **expected}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (message_of("a", "b"), [{"role": "user", "content": "ab"}]),
        (message_of("a", name="ann"), [{"role": "user", "content": "a", "name": "ann"}]),
        (message_of("be brief", role=Role.SYSTEM), [{"role": "system", "content": "be brief"}]),
        (
            message_of("what?", PNG, Blob(mime_type="image/jpeg", uri="https://example.com/a.jpg")),
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": {"url": PNG_URL}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
                    ],
                }
            ],
        ),
        (
            message_of(Blob(mime_type="audio/mpeg", data=b"ID3")),
            [
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}}],
                }
            ],
        ),
        (
            message_of(Blob(mime_type="application/pdf", data=b"%PDF")),
            [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "file",
                            "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                        }
                    ],
                }
            ],
        ),
        (
            message_of(
                Reasoning(text="hm"),
                "Let me add.",
                ToolCall(id="1", name="add", arguments_json='{"a": 1}'),
                role=Role.ASSISTANT,
            ),
            [
                {
                    "role": "assistant",
                    "content": "Let me add.",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                    ],
                }
            ],
        ),
        (
            message_of(ToolCall(id="1", name="now"), role=Role.ASSISTANT),
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "now", "arguments": ""}}],
                }
            ],
        ),
        (
            message_of(Refusal(text="I will not."), role=Role.ASSISTANT),
            [{"role": "assistant", "content": "I will not."}],
        ),
        (message_of(Blob(mime_type="image/png", data=b"x"), role=Role.ASSISTANT), []),
        (
            message_of(
                ToolResult(tool_call_id="1", parts=(Text(text="3"),)),
                ToolResult(tool_call_id="2", parts=(Text(text="no "), Text(text="such")), is_error=True),
                role=Role.TOOL,
            ),
            [
                {"role": "tool", "tool_call_id": "1", "content": "3"},
                {"role": "tool", "tool_call_id": "2", "content": "no such"},
            ],
        ),
    ],
)
async def test_a_message_is_worded_as_the_protocol_has_it(message: Message, expected: list[Any]) -> None:
    """Parts of all kinds, and several results as several messages."""
    assert (await body_of(chat(message, "and?")))["messages"] == [*expected, {"role": "user", "content": "and?"}]


async def test_reasoning_is_sent_back_where_the_server_wants_it() -> None:
    """In the field that is configured."""
    answer = message_of(Reasoning(text="hm"), "yes", role=Role.ASSISTANT)
    body = await body_of(chat("really?", answer, "why?"), reasoning_field="reasoning_content")
    assert body["messages"][1] == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("prefill", "message", "more"),
    [
        ("none", {}, {}),
        ("plain", {}, {}),
        ("prefix", {"prefix": True}, {}),
        ("prefix_echoed", {"prefix": True}, {}),
        ("continue", {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
async def test_a_server_is_told_to_go_on_in_its_own_way(
    prefill: Any, message: dict[str, Any], more: dict[str, Any]
) -> None:
    """Only where the conversation ends with the beginning of an answer."""
    models = {"m": OpenAIModel(prefill=prefill)}
    plain = await body_of(chat("Why?"), models=models)
    body = await body_of(chat("Why?", message_of("Because", role=Role.ASSISTANT)), models=models)
    assert body == {
        **plain,
        "messages": [*plain["messages"], {"role": "assistant", "content": "Because", **message}],
        **more,
    }


async def test_each_model_has_sampling_parameters_of_its_own() -> None:
    """Some are refused, some are left out, and the longest pattern that fits a name decides."""
    models = {
        "*": OpenAIModel(refuse=("top_p",)),
        "m*": OpenAIModel(refuse=("temperature", "seed")),
        "mini": OpenAIModel(leave_out=("temperature",)),
    }
    async with asking(models=models) as (provider, upstream):
        with pytest.raises(UnsupportedByModel, match="no temperature and no seed"):
            await anext(aiter(provider.generate(chat(config={"temperature": 1, "seed": 1, "top_p": 1}))))
        request = GenerateRequest(
            model="mini", messages=(message_of("hi"),), config=GenerationConfig(temperature=1, seed=1)
        )
        _ = [event async for event in provider.generate(request)]
    (call,) = upstream.calls
    assert "temperature" not in call.body
    assert call.body["seed"] == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "max_tokens"),
        ({"output_limit": "max_completion_tokens"}, "max_completion_tokens"),
    ],
)
async def test_the_limit_of_output_has_the_server_s_name(options: dict[str, Any], field: str) -> None:
    """As it is configured."""
    assert (await body_of(chat(config={"max_output_tokens": 5}), **options))[field] == 5


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://x.openai.azure.com", "max_completion_tokens"),
        ("https://api.groq.com/openai/v1", "max_tokens"),
        ("http://api.openai.com.example/v1", "max_tokens"),
        ("http://anotherapi.openai.com/v1", "max_tokens"),
    ],
)
def test_the_newer_name_of_the_limit_goes_to_those_who_know_it(base_url: str, field: str) -> None:
    """Reasoning models of OpenAI refuse the older one, other servers the newer."""
    assert OpenAISettings(base_url=base_url).limit_field == field


async def test_servers_that_refuse_stream_options_are_spared_them() -> None:
    """By configuration."""
    assert "stream_options" not in await body_of(chat(), stream_usage=False)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (chat(provider_options={"n": 2, "stream": False}), InvalidArgument, "provider_options.n"),
        (chat(message_of(Blob(mime_type="video/mp4", data=b"x"))), UnsupportedByModel, "video/mp4 as bytes"),
        (
            chat(message_of(Blob(mime_type="audio/wav", uri="https://a.b/c"))),
            UnsupportedByModel,
            "audio/wav at an address",
        ),
        (
            chat(message_of(ToolResult(tool_call_id="1", parts=(PNG,)), role=Role.TOOL)),
            UnsupportedByModel,
            "only text as the result of a tool",
        ),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is(
    request_: GenerateRequest, error: type[MCPError], words: str
) -> None:
    """And nobody is asked."""
    async with asking() as (provider, upstream):
        with pytest.raises(error) as raised:
            await anext(aiter(provider.generate(request_)))
        assert words in raised.value.message
        assert not upstream.calls


async def test_a_large_request_arrives_whole() -> None:
    """An image of several megabytes."""
    image = Blob(mime_type="image/png", data=bytes(3_000_000))
    body = await body_of(chat(message_of(image)))
    assert len(body["messages"][0]["content"][0]["image_url"]["url"]) == 4_000_000 + len("data:image/png;base64,")


# -- which models -----------------------------------------------------------------------------------------------------


async def test_models_are_those_that_are_configured_and_any_other() -> None:
    """Patterns are no models, and other names are tried unless that is turned off."""
    models = {
        "big": OpenAIModel(capabilities=("chat", "tools"), context_window=8192, prefill="prefix"),
        "text-*": OpenAIModel(capabilities=("embedding",), max_batch=16, embedding_dimensions=8),
    }
    async with asking(models=models) as (provider, _):
        (big,) = await provider.models()
        assert (big.name, big.context_window) == ("big", 8192)
        assert big.capabilities == Capabilities(chat=True, tools=True, prefill=True)
        small = provider.look_up("text-small")
        assert small is not None
        assert (small.name, small.max_batch, small.embedding_dimensions) == ("text-small", 16, 8)
        other = provider.look_up("gpt-99")
        assert other is not None
        assert other.capabilities.chat
        assert not other.capabilities.prefill
    async with asking(models=models, other_models=False) as (provider, upstream):
        assert provider.look_up("gpt-99") is None
        assert provider.look_up("text-small") is not None
        with pytest.raises(ModelNotFound, match="big"):
            await anext(aiter(provider.generate(chat())))
        assert not upstream.calls
