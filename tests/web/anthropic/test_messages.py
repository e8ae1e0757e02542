"""Messages through Anthropic's own client: whole answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import anthropic
import pydantic
import pytest

from mcp_client import MCPClient
from mcp_server.interfaces import (
    Finish,
    PartState,
    ReasoningDelta,
    RefusalDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.testing import EchoProvider, running
from mcp_server.values import (
    Blob,
    FinishReason,
    GenerationConfig,
    ProviderState,
    ProviderStatePart,
    Reasoning,
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
from tests.web.anthropic.conftest import HELLO, MODEL, StartAPI, able
from tests.web.servers import web_config

USAGE = Usage(
    input_tokens=11,
    cached_input_tokens=4,
    cache_write_tokens=1,
    output_tokens=7,
    reasoning_tokens=2,
    source=UsageSource.REPORTED,
)
WEATHER: Any = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
THINKING = (
    ReasoningDelta(text="Rome, "),
    ReasoningDelta(text="I think."),
    PartState(data=b"\x00signed"),
    PartState(data=b"hidden", own_part=True),
    "Let me see.",
    ToolCallStart(id="call_1", name="weather"),
    ToolArgumentsDelta(id="call_1", text='{"city":"Rome"}'),
    Finish(reason=FinishReason.TOOL_CALLS, usage=USAGE),
)


async def test_an_answer_has_its_text_its_usage_and_its_model(start_api: StartAPI) -> None:
    """Tokens of the cache count apart from the others."""
    api = await start_api(p=able(["Good ", "day", Finish(usage=USAGE)]))
    answer = await api.client.messages.create(model=MODEL, max_tokens=99, messages=HELLO)
    assert answer.id.startswith("msg_t")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", MODEL)
    assert [(block.type, block.text) for block in answer.content if block.type == "text"] == [("text", "Good day")]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (6, 4, 1)
    assert usage.output_tokens == 7
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 2


def test_the_blocking_client_works_too() -> None:
    """Whole and in pieces, against a server in another thread."""

    async def main() -> tuple[str, str]:
        async with running(web_config(), providers={"echo": EchoProvider()}) as server:

            def ask() -> tuple[str, str]:
                with anthropic.Anthropic(base_url=server.web_url, api_key="any", max_retries=0) as client:
                    answer = client.messages.create(model="echo/echo", max_tokens=9, messages=HELLO)
                    with client.messages.stream(model="echo/echo", max_tokens=9, messages=HELLO) as stream:
                        text = "".join(stream.text_stream)
                (block,) = answer.content
                assert block.type == "text"
                return block.text, text

            return await asyncio.to_thread(ask)

    assert asyncio.run(main()) == ("Hello", "Hello")


async def test_the_provider_gets_the_conversation(start_api: StartAPI) -> None:
    """Every role and every kind of block, in order; results of tools before what the user says beside them."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    image = base64.b64encode(b"pixels").decode()
    pdf = base64.b64encode(b"pages").decode()
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:", **cached},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/cat"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}},
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a"}},
                {
                    "type": "document",
                    "title": "Notes",
                    "context": "Of May.",
                    "citations": {"enabled": False},
                    "source": {"type": "text", "media_type": "text/plain", "data": "A cat."},
                },
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "More."}]}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "A cat.", "citations": None},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {}, "caller": {"type": "direct"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "rain", "is_error": True, **cached},
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [
                        {"type": "text", "text": "sun"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
                    ],
                },
                {"type": "text", "text": "So?"},
            ],
        },
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Sun."},
        {"role": "user", "content": "Why?"},
    ]
    system: Any = [{"type": "text", "text": "Be kind.", **cached}, {"type": "text", "text": "Be brave."}]
    await api.client.messages.create(
        model=MODEL, max_tokens=9, system=system, messages=messages, cache_control={"type": "ephemeral"}
    )
    assert [(message.role, message.parts) for message in provider.requests[0].messages] == [
        (Role.SYSTEM, (Text(text="Be kind."), Text(text="Be brave."))),
        (
            Role.USER,
            (
                Text(text="Look:"),
                Blob(mime_type="image/png", data=b"pixels"),
                Blob(mime_type="image/*", uri="https://example.com/cat"),
                Blob(mime_type="application/pdf", data=b"pages"),
                Blob(mime_type="application/pdf", uri="https://example.com/a"),
                Text(text="Notes"),
                Text(text="Of May."),
                Text(text="A cat."),
                Text(text="More."),
            ),
        ),
        (
            Role.ASSISTANT,
            (
                Text(text="A cat."),
                ToolCall(id="a", name="weather", arguments_json='{"city":"Rome"}'),
                ToolCall(id="b", name="weather", arguments_json="{}"),
            ),
        ),
        (
            Role.TOOL,
            (
                ToolResult(tool_call_id="b", parts=(Text(text="rain"),), is_error=True),
                ToolResult(tool_call_id="a", parts=(Text(text="sun"), Blob(mime_type="image/png", data=b"pixels"))),
            ),
        ),
        (Role.USER, (Text(text="So?"),)),
        (Role.SYSTEM, (Text(text="Be brief."),)),
        (Role.ASSISTANT, (Text(text="Sun."),)),
        (Role.USER, (Text(text="Why?"),)),
    ]


async def test_the_provider_gets_the_parameters(start_api: StartAPI) -> None:
    """Each under the name that the server has for it."""
    provider = able(["{}", Finish()])
    api = await start_api(p=provider)
    parameters = dict[str, Any](
        model=MODEL,
        max_tokens=9,
        messages=HELLO,
        system="Be kind.",
        extra_body={"temperature": 0.5, "top_p": 0.25, "top_k": 3},  # only older clients send them
        stop_sequences=["a", "b"],
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object", "properties": {"z": {}, "a": {}}}},
        },
        tools=[{**WEATHER, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        metadata={"user_id": "ann"},
        service_tier="standard_only",
    )
    await api.client.messages.create(**parameters)
    request = provider.requests[0]
    assert request.config == GenerationConfig(
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=9,
        stop=("a", "b"),
        response_format=ResponseFormat.JSON_SCHEMA,
        json_schema='{"type":"object","properties":{"z":{},"a":{}}}',
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
        "top_k": 3,
        "reasoning_effort": "low",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    assert request.messages[0].parts == (Text(text="Be kind."),)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(parallel=False)),
        ({"type": "any"}, ToolChoice(mode="required")),
        ({"type": "none"}, ToolChoice(mode="none")),
    ],
)
async def test_a_tool_can_be_chosen(start_api: StartAPI, choice: Any, expected: ToolChoice) -> None:
    """Every kind of choice has its counterpart."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    await api.client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, tools=[WEATHER], tool_choice=choice)
    assert provider.requests[0].tool_choice == expected


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_comes_back_to_its_provider_alone(start_api: StartAPI, streamed: bool) -> None:
    """An answer that is sent back as it was received carries what its provider needs, and another does not get it."""
    provider, other = able(THINKING, ["done", Finish()]), able(["done", Finish()])
    api = await start_api(p=provider, q=other)
    asked: Any = {"model": MODEL, "max_tokens": 99, "messages": HELLO, "tools": [WEATHER]}
    if streamed:
        async with api.client.messages.stream(**asked) as stream:
            answer: Any = await stream.get_final_message()
    else:
        answer = await api.client.messages.create(**asked)
    assert [block.type for block in answer.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert answer.content[0].thinking == "Rome, I think."
    assert (answer.content[3].name, answer.content[3].input) == ("weather", {"city": "Rome"})
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": answer.content[3].id, "content": "sun"}
    asked["messages"] = [
        *HELLO,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    await api.client.messages.create(**asked)
    assert provider.requests[1].messages[1].parts == (
        Reasoning(text="Rome, I think.", provider_state=ProviderState(provider="p", model="able", data=b"\x00signed")),
        ProviderStatePart(provider_state=ProviderState(provider="p", model="able", data=b"hidden")),
        Text(text="Let me see."),
        ToolCall(id="call_1", name="weather", arguments_json='{"city":"Rome"}'),
    )
    await api.client.messages.create(**{**asked, "model": "q/able"})
    parts = other.requests[0].messages[1].parts
    assert parts[0] == Reasoning(text="Rome, I think.")
    assert [type(part) for part in parts] == [Reasoning, Text, ToolCall]


async def test_what_another_server_has_signed_is_given_to_nobody(start_api: StartAPI) -> None:
    """A conversation that began elsewhere goes on here."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    content: Any = [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCgIYAhIM"},
        {"type": "redacted_thinking", "data": "not ours"},
        {"type": "text", "text": "Yes."},
    ]
    messages: Any = [*HELLO, {"role": "assistant", "content": content}, *HELLO]
    await api.client.messages.create(model=MODEL, max_tokens=9, messages=messages)
    assert provider.requests[0].messages[1].parts == (Reasoning(text="Hm."), Text(text="Yes."))


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "adaptive"}, [("thinking", "Rome, I think."), ("redacted_thinking", None)]),
        ({"type": "adaptive", "display": "omitted"}, [("thinking", ""), ("redacted_thinking", None)]),
        ({"type": "disabled"}, []),
    ],
)
async def test_the_caller_chooses_what_it_sees_of_the_thinking(
    start_api: StartAPI, thinking: Any, expected: list[Any]
) -> None:
    """All, its signature, or nothing, whole and in pieces alike; nothing is forwarded."""
    provider = able(THINKING)
    api = await start_api(p=provider)
    asked: Any = {"model": MODEL, "max_tokens": 99, "messages": HELLO, "tools": [WEATHER], "thinking": thinking}
    answer = await api.client.messages.create(**asked)
    async with api.client.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    for blocks in (answer.content, streamed.content):
        found = [(block.type, getattr(block, "thinking", None)) for block in blocks]
        assert found == [*expected, ("text", None), ("tool_use", None)]
    assert [block.to_dict() for block in answer.content][:1] == [block.to_dict() for block in streamed.content][:1]
    assert provider.requests[0].provider_options == {}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (["x", Finish(reason=FinishReason.LENGTH)], "max_tokens"),
        (["x", Finish(reason=FinishReason.CONTENT_FILTER)], "refusal"),
        ([RefusalDelta(text="No."), Finish()], "refusal"),
    ],
)
async def test_an_answer_says_why_it_ended(start_api: StartAPI, script: Any, reason: str) -> None:
    """In whole answers and in streams."""
    api = await start_api(p=able(script))
    answer = await api.client.messages.create(model=MODEL, max_tokens=99, messages=HELLO)
    async with api.client.messages.stream(model=MODEL, max_tokens=99, messages=HELLO) as stream:
        assert (await stream.get_final_message()).stop_reason == answer.stop_reason == reason


async def test_arguments_that_are_no_object_are_shown_in_one(start_api: StartAPI) -> None:
    """Clients need an object."""
    script = [
        ToolCallStart(id="a", name="weather"),
        ToolArgumentsDelta(id="a", text="[1"),
        ToolCallStart(id="b", name="weather"),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    api = await start_api(p=able(script))
    answer = await api.client.messages.create(model=MODEL, max_tokens=99, messages=HELLO, tools=[WEATHER])
    assert [block.input for block in answer.content if block.type == "tool_use"] == [{"invalid_arguments": "[1"}, {}]


async def test_the_answer_is_parsed_into_a_type(start_api: StartAPI) -> None:
    """With the schema that the client makes of it."""

    class Pair(pydantic.BaseModel):
        a: int

    provider = able(['{"a": 1}', Finish()])
    api = await start_api(p=provider)
    answer = await api.client.messages.parse(model=MODEL, max_tokens=99, messages=HELLO, output_format=Pair)
    assert answer.parsed_output == Pair(a=1)
    assert '"a"' in provider.requests[0].config.json_schema


async def test_usage_is_reported_by_the_user(start_api: StartAPI) -> None:
    """A user id that is too long for a label is one by its digest."""
    api = await start_api(p=able(["x", Finish()]))
    long = "user_" + "x" * 200
    for user in ("ann", long):
        await api.client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, metadata={"user_id": user})
    async with MCPClient(api.server.address) as client:
        rows = [row async for row in client.query_usage(group_by=["label:user_id"])]
    assert {row.group["label:user_id"] for row in rows} == {
        "ann",
        "sha256:" + hashlib.sha256(long.encode()).hexdigest(),
    }


async def test_a_request_that_is_sent_again_is_answered_once(start_api: StartAPI) -> None:
    """With a key, in either form, the provider is asked once."""
    provider = able(["Good day", Finish()])
    api = await start_api(p=provider)
    key = {"Idempotency-Key": "k1"}
    first = await api.client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, extra_headers=key)
    again = await api.client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, extra_headers=key)
    assert first.id == again.id
    with pytest.raises(anthropic.ConflictError, match="k1"):
        await api.client.messages.create(model=MODEL, max_tokens=8, messages=HELLO, extra_headers=key)
    assert len(provider.requests) == 1


async def test_a_coding_assistant_works_through_its_tools(start_api: StartAPI) -> None:
    """Long instructions with marks for the cache, many tools, beta headers, counts, and a loop of calls and results."""
    provider = able(THINKING, THINKING, ["Done.", Finish()])
    api = await start_api(p=provider)
    marked = {"cache_control": {"type": "ephemeral"}}
    tools: Any = [{**WEATHER, "name": f"tool_{number}", "description": "d" * 900} for number in range(60)]
    tools.append({**WEATHER, "eager_input_streaming": True, **marked})
    asked: Any = {
        "model": MODEL,
        "max_tokens": 200,
        "system": [{"type": "text", "text": "You write programs."}, {"type": "text", "text": "Here.", **marked}],
        "tools": tools,
        "metadata": {"user_id": "user_" + "0" * 160},
        "extra_headers": {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14"},
        "extra_query": {"beta": "true"},
        "extra_body": {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
    }
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Fix it.", **marked}]}]
    for _ in range(2):
        async with api.client.messages.stream(**asked, messages=messages) as stream:
            answer = await stream.get_final_message()
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "ok", **marked}]}
            for block in answer.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
    count = await api.client.messages.count_tokens(
        model=MODEL, system=asked["system"], tools=tools, messages=messages, thinking={"type": "adaptive"}
    )
    assert count.input_tokens > 1000
    answer = await api.client.messages.create(**asked, messages=messages)
    assert answer.stop_reason == "end_turn"
    calls = [part.id for message in provider.requests[2].messages for part in message.parts if type(part) is ToolCall]
    assert len(calls) == len(set(calls)) == 2


async def test_the_name_of_a_tool_may_be_as_long_as_those_of_assistants_are(start_api: StartAPI) -> None:
    """It comes back whole in the call, and the provider reads it whole in the next request."""
    name = "mcp__" + "a" * 123
    call = [
        ToolCallStart(id="c1", name=name),
        ToolArgumentsDelta(id="c1", text="{}"),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    provider = able(call, ["Done.", Finish()])
    api = await start_api(p=provider)
    asked: Any = {"model": MODEL, "max_tokens": 9, "tools": [{**WEATHER, "name": name}]}
    answer = await api.client.messages.create(**asked, messages=HELLO)
    (block,) = answer.content
    assert block.type == "tool_use"
    assert block.name == name
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "ok"}
    messages = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    await api.client.messages.create(**asked, messages=messages)
    (part,) = provider.requests[1].messages[1].parts
    assert isinstance(part, ToolCall)
    assert part.name == name
    status, _, text = await api.send(
        "/v1/messages", {**asked, "tools": [{**WEATHER, "name": name + "a"}], "messages": HELLO}
    )
    assert (status, "tools[0].name: " in text) == (400, True), text
