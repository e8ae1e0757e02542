"""Chats through OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import openai
import pydantic
import pytest

from mcp_client import MCPClient
from mcp_server.interfaces import (
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.testing import EchoProvider, ScriptedProvider
from mcp_server.values import (
    Blob,
    Capabilities,
    FinishReason,
    GenerationConfig,
    Logprob,
    Model,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    UsageSource,
)
from tests.web.openai.conftest import StartAPI

ALL = Model(
    name="able",
    capabilities=Capabilities(chat=True, completion=True, tools=True, images=True, json_schema=True),
    context_window=100_000,
)
USAGE = Usage(input_tokens=11, cached_input_tokens=4, output_tokens=7, reasoning_tokens=2, source=UsageSource.REPORTED)
MODEL = "p/able"
HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
CALLING = (
    ReasoningDelta(text="Rome, "),
    ReasoningDelta(text="I think."),
    "Let me ",
    "see.",
    ToolCallStart(id="call_1", name="weather"),
    ToolArgumentsDelta(id="call_1", text='{"city":'),
    ToolCallStart(id="call_2", name="weather"),
    ToolArgumentsDelta(id="call_1", text='"Rome"}'),
    ToolArgumentsDelta(id="call_2", text="{}"),
    Finish(reason=FinishReason.TOOL_CALLS, usage=USAGE),
)


def able(*scripts: Any) -> ScriptedProvider:
    """A provider that can do everything."""
    return ScriptedProvider(*scripts, model=ALL)


async def test_an_answer_has_its_text_its_usage_and_its_model(start_api: StartAPI) -> None:
    """The whole object, as OpenAI's client reads it."""
    api = await start_api(p=able(["Good ", "day", Finish(usage=USAGE)]))
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.id.startswith("chatcmpl-t")
    assert answer.created > 1_700_000_000
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", "Good day", None)
    usage = answer.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 7, 18)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 2


async def test_the_provider_gets_the_conversation(start_api: StartAPI) -> None:
    """Every role and every kind of part, in order."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    image = "data:image/png;base64," + base64.b64encode(b"pixels").decode()
    audio = base64.b64encode(b"sound").decode()
    file = "data:application/pdf;base64," + base64.b64encode(b"pages").decode()
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": image, "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/cat.jpg?size=9"}},
                {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": file}},
            ],
        },
        {
            "role": "assistant",
            "content": "A cat.",
            "reasoning_content": "Whiskers.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{ }"}},
            ],
            "annotations": [],
            "audio": None,
            "function_call": None,
            "refusal": None,
        },
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "sun"}]},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "content": "Why?"},
    ]
    await api.client.chat.completions.create(model=MODEL, messages=messages)
    sent = provider.requests[0].messages
    assert [(message.role, message.name, message.parts) for message in sent] == [
        (Role.SYSTEM, "", (Text(text="Be brief."),)),
        (Role.SYSTEM, "", (Text(text="Be kind."),)),
        (
            Role.USER,
            "ann",
            (
                Text(text="Look:"),
                Blob(mime_type="image/png", data=b"pixels"),
                Blob(mime_type="image/jpeg", uri="https://example.com/cat.jpg?size=9"),
                Blob(mime_type="audio/wav", data=b"sound"),
                Blob(mime_type="application/pdf", data=b"pages"),
            ),
        ),
        (
            Role.ASSISTANT,
            "",
            (
                Reasoning(text="Whiskers."),
                Text(text="A cat."),
                ToolCall(id="a", name="weather", arguments_json="{}"),
                ToolCall(id="b", name="weather", arguments_json="{ }"),
            ),
        ),
        (Role.TOOL, "", (ToolResult(tool_call_id="b", parts=(Text(text="rain"),)),)),
        (Role.TOOL, "", (ToolResult(tool_call_id="a", parts=(Text(text="sun"),)),)),
        (Role.ASSISTANT, "", (Refusal(text="No."),)),
        (Role.USER, "", (Text(text="Why?"),)),
    ]


async def test_the_provider_gets_the_parameters(start_api: StartAPI) -> None:
    """Each under the name that the server has for it."""
    provider = able(["{}", Finish()])
    api = await start_api(p=provider)
    schema: Any = {"type": "object", "properties": {"z": {}, "a": {}}}
    await api.client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        temperature=0.5,
        top_p=0.25,
        max_completion_tokens=9,
        stop=["a", "b"],
        seed=3,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logprobs=True,
        top_logprobs=2,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "A pair.", "strict": True, "schema": schema},
        },
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        reasoning_effort="low",
        verbosity="low",
        logit_bias={"50256": -100},
    )
    request = provider.requests[0]
    assert request.config == GenerationConfig(
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=9,
        stop=("a", "b"),
        seed=3,
        frequency_penalty=0.5,
        presence_penalty=-0.5,
        logprobs=2,
        response_format=ResponseFormat.JSON_SCHEMA,
        json_schema='{"description":"A pair.","type":"object","properties":{"z":{},"a":{}}}',
    )
    assert request.tools == (
        Tool(
            name="weather",
            description="Tells the weather.",
            parameters_json='{"type":"object","properties":{"city":{"type":"string"}}}',
            strict=True,
        ),
    )
    assert request.tool_choice == ToolChoice(mode="required", name="weather", parallel=False)
    assert request.provider_options == {
        "reasoning_effort": "low",
        "verbosity": "low",
        "logit_bias": {"50256": -100},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 5}, GenerationConfig(max_output_tokens=5)),
        ({"stop": "a"}, GenerationConfig(stop=("a",))),
        ({"logprobs": True}, GenerationConfig(logprobs=0)),
        ({"logprobs": False}, GenerationConfig()),
        ({"response_format": {"type": "text"}}, GenerationConfig()),
        ({"response_format": {"type": "json_object"}}, GenerationConfig(response_format=ResponseFormat.JSON)),
        # What changes nothing may be sent.
        (
            {
                "n": 1,
                "modalities": ["text"],
                "service_tier": "auto",
                "store": False,
                "tools": [],
                "stop": None,
                "stream": False,
                "logit_bias": {},
                "metadata": {},
                "prompt_cache_key": "ann",
            },
            GenerationConfig(),
        ),
    ],
)
async def test_parameters_have_short_forms(
    start_api: StartAPI, given: dict[str, Any], expected: GenerationConfig
) -> None:
    """A text for a list of one, the older name of a limit, values that are the default."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    status, _, text = await api.send("/chat/completions", {"model": MODEL, "messages": HELLO, **given})
    assert status == 200, text
    assert provider.requests[0].config == expected
    assert provider.requests[0].provider_options == {}


async def test_an_answer_has_tool_calls_and_reasoning(start_api: StartAPI) -> None:
    """Both whole, in the fields where clients look for them; the answer can be sent back as it is."""
    provider = able(CALLING, ["Sunny.", Finish()])
    api = await start_api(p=provider)
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me see."
    assert message.model_extra == {"reasoning_content": "Rome, I think."}
    assert message.tool_calls is not None
    calls = [call.function for call in message.tool_calls if call.type == "function"]
    assert [(call.name, call.arguments) for call in calls] == [("weather", '{"city":"Rome"}'), ("weather", "{}")]
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in message.tool_calls]
    conversation: Any = [*HELLO, message.model_dump(), *results]
    second = await api.client.chat.completions.create(model=MODEL, messages=conversation, tools=[WEATHER])
    assert second.choices[0].message.content == "Sunny."
    assert [type(part) for part in provider.requests[1].messages[1].parts] == [Reasoning, Text, ToolCall, ToolCall]


async def test_an_answer_can_be_a_refusal(start_api: StartAPI) -> None:
    """It has a field of its own."""
    api = await start_api(p=able([RefusalDelta(text="I "), RefusalDelta(text="won't."), Finish()]))
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO)
    message = answer.choices[0].message
    assert (message.content, message.refusal) == (None, "I won't.")


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_an_answer_says_why_it_ended(start_api: StartAPI, reason: FinishReason) -> None:
    """By OpenAI's names."""
    api = await start_api(p=able(["a", Finish(reason=reason)]))
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO)
    assert answer.choices[0].finish_reason == reason.value


async def test_an_answer_has_log_probabilities(start_api: StartAPI) -> None:
    """Of each token, with its bytes and the alternatives."""
    tokens = (Logprob(token="é", logprob=-0.5, top=(Logprob(token="e", logprob=-1.5),)),)
    script = [TextDelta(text="é", logprobs=tokens), TextDelta(text="!", logprobs=(Logprob(token="!", logprob=-2),))]
    api = await start_api(p=able([*script, Finish()]))
    answer = await api.client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    first, second = logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("é", -0.5, [195, 169])
    assert [(top.token, top.logprob) for top in first.top_logprobs] == [("e", -1.5)]
    assert (second.token, second.top_logprobs) == ("!", [])


class Answer(pydantic.BaseModel):
    """What the model is to answer."""

    city: str


async def test_answers_are_parsed_by_the_client(start_api: StartAPI) -> None:
    """``parse`` sends the schema of a class, and gets an object of it."""
    provider = able(['{"city": "Rome"}', Finish()])
    api = await start_api(p=provider)
    answer = await api.client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Answer)
    assert answer.choices[0].message.parsed == Answer(city="Rome")
    assert '"city"' in provider.requests[0].config.json_schema


async def test_tools_are_made_of_classes_by_the_client(start_api: StartAPI) -> None:
    """``parse`` with a strict tool reads its arguments."""
    provider = able([step for step in CALLING if getattr(step, "id", "") != "call_2"])
    api = await start_api(p=provider)
    tool = openai.pydantic_function_tool(Answer, name="weather")
    answer = await api.client.chat.completions.parse(model=MODEL, messages=HELLO, tools=[tool])
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == Answer(city="Rome")
    assert provider.requests[0].tools[0].strict


async def test_the_blocking_client_works_too(start_api: StartAPI) -> None:
    """The same over another transport, from a thread."""
    api = await start_api(echo=EchoProvider())

    def ask() -> str | None:
        with openai.OpenAI(base_url=api.url, api_key="any") as client:
            answer = client.chat.completions.create(model="echo/echo", messages=HELLO)
            return answer.choices[0].message.content

    assert await asyncio.to_thread(ask) == "Hello"


async def test_usage_is_reported_by_the_metadata_of_calls(start_api: StartAPI) -> None:
    """``metadata``, ``user`` and ``safety_identifier`` are labels."""
    api = await start_api(p=able(["ok", Finish()]))
    await api.client.chat.completions.create(
        model=MODEL, messages=HELLO, metadata={"team": "red"}, user="ann", safety_identifier="hash"
    )
    groups = ["label:team", "label:user", "label:safety_identifier"]
    async with MCPClient(api.server.address) as client:
        rows = [row async for row in client.query_usage(group_by=groups)]
    assert [(row.group, row.turns) for row in rows] == [
        ({"label:team": "red", "label:user": "ann", "label:safety_identifier": "hash"}, 1)
    ]
