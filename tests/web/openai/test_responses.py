"""Responses through OpenAI's own client: what they are asked, and what they say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from pathlib import Path
from typing import Any

import msgspec
import openai
import pydantic
import pytest

from mcp_server.errors import InvalidArgument
from mcp_server.interfaces import (
    Finish,
    PartState,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from mcp_server.rules import Violations
from mcp_server.settings import testing_config as plain_config
from mcp_server.settings.tables import LimitSettings, TenantSettings
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.values import (
    Blob,
    FinishReason,
    GenerationConfig,
    Logprob,
    ProviderState,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from mcp_server.web.openai.response_parameters import CreateParameters
from mcp_server.web.openai.response_requests import read_create
from tests.web.openai.conftest import API, StartAPI
from tests.web.openai.test_chat import MODEL, USAGE, able

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


def responses(api: API) -> Any:
    """The part of the client for responses; its types are unions of more than the server sends."""
    return api.client.responses


async def create(api: API, input: Any = "Hello", **fields: Any) -> Any:
    """A response, not streamed."""
    return await responses(api).create(model=MODEL, input=input, **fields)


async def test_a_response_says_all_about_itself(start_api: StartAPI) -> None:
    """It has its parameters, its output and its usage, and is the same when it is retrieved."""
    provider = able(["Good ", "day", Finish(usage=USAGE)])
    api = await start_api(p=provider)
    response = await create(
        api,
        instructions="Be kind.",
        metadata={"order": "4711", "Not a label": "x" * 300},
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=50,
        truncation="auto",
        user="ann",
        safety_identifier="a-1",
    )
    assert response.status == "completed"
    assert response.output_text == "Good day"
    assert response.id.startswith("resp_")
    assert response.output[0].id.startswith("msg_")
    assert (response.model, response.object, response.error) == (MODEL, "response", None)
    assert (response.temperature, response.top_p, response.max_output_tokens) == (0.5, 0.9, 50)
    assert response.metadata == {"order": "4711", "Not a label": "x" * 300}
    assert (response.truncation, response.user, response.instructions) == ("auto", "ann", "Be kind.")
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens_details.reasoning_tokens == 2
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (11, 7, 18)
    again = await responses(api).retrieve(response.id)
    assert again == response.model_copy(update={"instructions": None})
    request = provider.requests[0]
    assert [(message.role, message.text) for message in request.messages] == [
        (Role.SYSTEM, "Be kind."),
        (Role.USER, "Hello"),
    ]
    assert request.config == GenerationConfig(temperature=0.5, top_p=0.9, max_output_tokens=50)


async def test_the_synchronous_client_works_too(start_api: StartAPI) -> None:
    """Whole and streamed."""
    api = await start_api(p=able(["Good day", Finish()]))

    def ask() -> list[str]:
        with openai.OpenAI(base_url=api.url, api_key="any", max_retries=0) as client:
            whole = client.responses.create(model=MODEL, input="Hello").output_text
            with client.responses.stream(model=MODEL, input="Hello") as stream:
                for _ in stream:
                    pass
                return [whole, stream.get_final_response().output_text]

    assert await asyncio.to_thread(ask) == ["Good day", "Good day"]


async def test_items_become_messages(start_api: StartAPI) -> None:
    """Messages, images, files, reasoning, calls and their results; instructions come first."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    image = base64.b64encode(b"png").decode()
    await create(
        api,
        [
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{image}"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "message", "role": "assistant", "phase": "commentary", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "One."}]},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Thanks"},
        ],
        tools=[WEATHER],
    )
    assert [(message.role, message.parts) for message in provider.requests[0].messages] == [
        (Role.SYSTEM, (Text(text="Be kind."),)),
        (
            Role.USER,
            (
                Text(text="What is this?"),
                Blob(mime_type="image/png", data=b"png"),
                Blob(mime_type="application/pdf", data=b"pdf"),
            ),
        ),
        (
            Role.ASSISTANT,
            (
                Reasoning(text="Hm."),
                Text(text="I look."),
                ToolCall(id="c1", name="weather", arguments_json="{}"),
                ToolCall(id="c2", name="weather", arguments_json="{}"),
            ),
        ),
        (Role.TOOL, (ToolResult(tool_call_id="c1", parts=(Text(text="sun"),)),)),
        (Role.TOOL, (ToolResult(tool_call_id="c2", parts=(Text(text="rain"),)),)),
        (Role.ASSISTANT, (Text(text="One."),)),
        (Role.ASSISTANT, (Text(text="Two."),)),
        (Role.USER, (Text(text="Thanks"),)),
    ]


async def test_functions_are_called(start_api: StartAPI) -> None:
    """Several at once; the results go into the next response."""
    provider = able(
        [
            "Let me see.",
            ToolCallStart(id="c1", name="weather"),
            ToolArgumentsDelta(id="c1", text='{"city":"Rome"}'),
            ToolCallStart(id="c2", name="weather"),
            ToolArgumentsDelta(id="c2", text="{}"),
            Finish(reason=FinishReason.TOOL_CALLS),
        ],
        ["Sunny.", Finish()],
    )
    api = await start_api(p=provider)
    first = await create(api, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    assert [item.call_id for item in first.output[1:]] == ["c1", "c2"]
    assert first.output[1].arguments == '{"city":"Rome"}'
    assert (first.tool_choice, first.parallel_tool_calls, first.tools[0].name) == ("required", False, "weather")
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": "sun"} for item in first.output[1:]]
    second = await create(api, results, previous_response_id=first.id, tools=[WEATHER])
    assert second.output_text == "Sunny."
    request = provider.requests[0]
    assert request.tool_choice == ToolChoice(mode="required", parallel=False)
    schema = '{"type":"object","properties":{"city":{"type":"string"}}}'
    tool = Tool(name="weather", description="Tells the weather.", parameters_json=schema, strict=True)
    assert [Tool(**{**_fields(one), "parameters_json": _compact(one.parameters_json)}) for one in request.tools] == [
        tool
    ]


def _fields(tool: Tool) -> dict[str, Any]:
    return {name: getattr(tool, name) for name in tool.__struct_fields__}


def _compact(text: str) -> str:
    return text.replace(" ", "")


async def test_only_some_functions_may_be_called(start_api: StartAPI) -> None:
    """The model is shown only these, and a single one can be required."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    other = {**WEATHER, "name": "other"}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]}
    await create(api, tools=[WEATHER, other], tool_choice=allowed)
    await create(api, tools=[WEATHER, other], tool_choice={"type": "function", "name": "other"})
    assert [tool.name for tool in provider.requests[0].tools] == ["other"]
    assert provider.requests[1].tool_choice == ToolChoice(mode="required", name="other")


async def test_results_of_calls_must_come_first(start_api: StartAPI) -> None:
    """The error names the parameter."""
    provider = able([ToolCallStart(id="c1", name="weather"), Finish(reason=FinishReason.TOOL_CALLS)])
    api = await start_api(p=provider)
    first = await create(api, tools=[WEATHER])
    with pytest.raises(openai.BadRequestError) as caught:
        await create(api, "And?", previous_response_id=first.id)
    assert (caught.value.code, caught.value.param) == ("tool_results_missing", "input")


async def test_answers_follow_a_schema(start_api: StartAPI) -> None:
    """Also one that the client makes of a class."""

    class Pet(pydantic.BaseModel):
        name: str

    provider = able(['{"name":"Rex"}', Finish()])
    api = await start_api(p=provider)
    parsed = await responses(api).parse(model=MODEL, input="A pet?", text_format=Pet)
    assert parsed.output_parsed == Pet(name="Rex")
    await create(api, text={"format": {"type": "json_object"}})
    configs = [request.config for request in provider.requests]
    assert [config.response_format for config in configs] == [ResponseFormat.JSON_SCHEMA, ResponseFormat.JSON]
    assert '"name"' in configs[0].json_schema


async def test_reasoning_is_an_item(start_api: StartAPI) -> None:
    """Its text is its content, or its summary if the request asks for one."""
    api = await start_api(p=able([ReasoningDelta(text="Hm."), "Yes", Finish()]))
    plain = await create(api)
    assert [item.type for item in plain.output] == ["reasoning", "message"]
    assert plain.output[0].content[0].text == "Hm."
    assert plain.output[0].summary == []
    summed = await create(api, reasoning={"summary": "auto"})
    assert summed.output[0].summary[0].text == "Hm."
    assert summed.reasoning.summary == "auto"


async def test_reasoning_can_be_sent_back(start_api: StartAPI) -> None:
    """Its encrypted content returns to the provider as it was, without a stored conversation."""
    state = ProviderState(provider="p", model="able", data=b"\x00signature")
    provider = able([ReasoningDelta(text="Hm."), PartState(data=state.data), "Yes", Finish()], ["Indeed", Finish()])
    api = await start_api(p=provider)
    include: Any = ["reasoning.encrypted_content"]
    first = await create(api, store=False, include=include)
    assert first.output[0].encrypted_content
    items = [item.model_dump(exclude_none=True) for item in first.output]
    await create(api, [{"role": "user", "content": "Hello"}, *items, {"role": "user", "content": "Sure?"}], store=False)
    assert provider.requests[1].messages[1].parts == (
        Reasoning(text="Hm.", provider_state=state),
        Text(text="Yes"),
    )
    with pytest.raises(openai.BadRequestError) as caught:
        await create(api, [{"type": "reasoning", "summary": [], "encrypted_content": "?"}])
    assert caught.value.param == "input[0].encrypted_content"


async def test_a_model_may_refuse(start_api: StartAPI) -> None:
    """The refusal is content of the message."""
    api = await start_api(p=able(["Well. ", RefusalDelta(text="No."), Finish()]))
    response = await create(api)
    assert [part.type for part in response.output[0].content] == ["output_text", "refusal"]
    assert response.output[0].content[1].refusal == "No."


async def test_log_probabilities_are_included(start_api: StartAPI) -> None:
    """In the response and when it is retrieved."""
    tokens = [
        TextDelta(text="Hi", logprobs=(Logprob(token="Hi", logprob=-0.5, top=(Logprob(token="Ho", logprob=-1.0),)),)),
        Finish(),
    ]
    provider = able(tokens)
    api = await start_api(p=provider)
    include: Any = ["message.output_text.logprobs"]
    response = await create(api, include=include, top_logprobs=1)
    (found,) = response.output[0].content[0].logprobs
    assert (found.token, found.logprob, found.bytes, found.top_logprobs[0].token) == ("Hi", -0.5, [72, 105], "Ho")
    assert provider.requests[0].config.logprobs == 1
    assert (await responses(api).retrieve(response.id, include=include)).output == response.output


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [(FinishReason.LENGTH, "max_output_tokens"), (FinishReason.CONTENT_FILTER, "content_filter")],
)
async def test_a_response_may_be_incomplete(start_api: StartAPI, reason: FinishReason, wanted: str) -> None:
    """It says why, and so does its last item."""
    api = await start_api(p=able(["Go", Finish(reason=reason)]))
    response = await create(api)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", wanted)
    assert response.output[-1].status == "incomplete"
    stream = await responses(api).create(model=MODEL, input="Hello", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert last.response.output[-1].status == "incomplete"


async def test_tokens_are_counted(start_api: StartAPI) -> None:
    """Those of the input, and with the history of a response."""
    api = await start_api(p=able(["Good day", Finish()]))
    alone = await responses(api).input_tokens.count(model=MODEL, input="And now?")
    response = await create(api)
    await create(api, previous_response_id=response.id)
    after = await responses(api).input_tokens.count(model=MODEL, input="And now?", previous_response_id=response.id)
    assert 0 < alone.input_tokens < after.input_tokens


async def test_input_is_listed(start_api: StartAPI) -> None:
    """What the response was given, in pages, in either order."""
    api = await start_api(p=able(["ok", Finish()]))
    first = await create(api, "zero")
    texts = [{"role": "user", "content": f"{number}"} for number in range(3)]
    response = await create(api, texts, previous_response_id=first.id)

    async def listed(**fields: Any) -> list[str]:
        pages = responses(api).input_items.list(response.id, limit=2, **fields)
        return [item.content[0].text async for item in pages]

    assert await listed() == ["2", "1", "0"]
    assert await listed(order="asc") == ["0", "1", "2"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "input"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "input[1].role"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": ""}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "assistant", "content": "a"}]}, "input[0].role"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0].call_id"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "mcp", "server_label": "a"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"previous_response_id": "resp_x", "conversation": "conv_x"}, "previous_response_id"),
    ({"background": True, "store": False}, "background"),
    ({"include": ["file_search_call.results"]}, "include[0]"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"temperature": 3}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"max_tool_calls": 1}, "max_tool_calls"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"seed": 1}, "seed"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": []}}}, "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ({"metadata": {"a": "x" * 513}}, "metadata['a']"),
    ({"prompt_cache_key": "k" * 513}, "prompt_cache_key"),
    ({"user": "u" * 513}, "user"),
    ({"safety_identifier": "s" * 513}, "safety_identifier"),
    ({"reasoning": {"effort": "e" * 513}}, "reasoning.effort"),
    ({"model": None}, "model"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
async def test_what_is_not_supported_is_refused_by_name(
    start_api: StartAPI, fields: dict[str, Any], param: str
) -> None:
    """Nothing is accepted and ignored."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    status, _, text = await api.send("/responses", {"model": MODEL, "input": "Hello", **fields})
    assert status == 400, text
    assert f'"param":"{param}"' in text
    assert provider.requests == []


DEEP: Any = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        '{"input": DEEP}',
        '{"input": [DEEP]}',
        '{"input": [{"role": "user", "content": DEEP}]}',
        '{"input": [{"type": "function_call_output", "call_id": "c", "output": DEEP}]}',
        '{"tools": [DEEP]}',
        '{"tools": [{"type": "function", "name": "f", "parameters": {"a": DEEP}}]}',
        '{"text": {"format": {"type": "json_schema", "name": "f", "schema": {"a": DEEP}}}}',
        '{"prompt": DEEP}',
        '{"metadata": DEEP}',
        '{"tools": [{"type": "function", "name": "f", "parameters": {"a": DIGITS}}]}',
        '{"text": {"format": {"type": "json_schema", "name": "f", "schema": {"a": DIGITS}}}}',
        '{"metadata": DIGITS}',
    ],
)
async def test_what_is_nested_or_long_without_end_is_refused(start_api: StartAPI, body: str) -> None:
    """Wherever it stands."""
    api = await start_api(p=able(["ok", Finish()]))
    body = '{"model": "p/able", ' + ("" if '"input"' in body else '"input": "a", ') + body[1:]
    status, _, text = await api.send("/responses", body.replace("DEEP", DEEP).replace("DIGITS", "9" * 5000).encode())
    assert status == 400, text


def test_a_schema_of_any_depth_is_read() -> None:
    """Or refused. What is too deep to be kept with the response is refused by the rules later."""
    for depth in range(700, 1000):
        schema = "[" * depth + "]" * depth
        tool = '{"type": "function", "name": "f", "parameters": {"a": ' + schema + "}}"
        with contextlib.suppress(InvalidArgument):
            read_create(f'{{"model": "m", "input": "a", "tools": [{tool}]}}'.encode(), "")


async def test_numbers_of_more_than_64_bits_may_stand_in_schemas(start_api: StartAPI, tmp_path: Path) -> None:
    """A response is kept without such a schema. As a parameter such a number is refused, whatever limits there are."""
    limits, tenants = {"l": LimitSettings(cost_per_day=1)}, {"*": TenantSettings(limits="l")}
    store = SQLiteSettings(path=tmp_path / "sessions.db")
    config = msgspec.structs.replace(plain_config(), store=store, limits=limits, tenants=tenants)
    api = await start_api(config, p=able(["ok", Finish()]))
    schema = '{"type": "object", "properties": {"n": {"type": "integer", "maximum": 1180591620717411303424}}}'
    tool = '{"type": "function", "name": "f", "parameters": ' + schema + "}"
    body = '{"model": "p/able", "input": "a", '
    status, _, text = await api.send("/responses", (body + f'"tools": [{tool}]}}').encode())
    assert (status, msgspec.json.decode(text)["status"]) == (200, "completed"), text
    status, _, text = await api.send("/responses", (body + '"max_output_tokens": 1180591620717411303424}').encode())
    assert (status, msgspec.json.decode(text)["error"]["param"]) == (400, "max_output_tokens")


def test_many_allowed_tools_are_found_in_time() -> None:
    """About as fast as they are read, however many tools there are."""
    tools = [{"type": "function", "name": f"f{number}", "parameters": {}} for number in range(2000)]
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f1"}] * 100_000}
    decoder = msgspec.json.Decoder(CreateParameters)
    data = msgspec.json.encode({"model": "m", "input": "a", "tools": tools, "tool_choice": allowed})
    begin = time.thread_time()
    parameters = decoder.decode(data)
    read = time.thread_time()
    assert [tool.name for tool in parameters.offered(Violations())] == ["f1"]
    assert time.thread_time() - read < 10 * (read - begin)


async def test_large_parameters_are_not_kept(start_api: StartAPI) -> None:
    """Not even a list of the same tool over and over; the response shows the others."""
    api = await start_api(p=able(["ok", Finish()]))
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}] * 1000}
    response = await create(api, tools=[WEATHER], tool_choice=allowed, user="ann")
    assert (response.tools, response.tool_choice, response.user) == ([], "auto", "ann")


async def test_parameters_that_change_nothing_are_accepted(start_api: StartAPI) -> None:
    """Clients send them with every request."""
    api = await start_api(p=able(["ok", Finish()]))
    body = {
        "model": MODEL,
        "input": "Hello",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "tools": [],
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "max_tool_calls": None,
        "text": {"format": {"type": "text"}},
        "reasoning": {},
    }
    status, _, text = await api.send("/responses", body)
    assert status == 200, text


async def test_responses_are_not_compacted(start_api: StartAPI) -> None:
    """The error says so."""
    api = await start_api(p=able())
    status, _, text = await api.send("/responses/compact", {"model": MODEL, "input": "Hello"})
    assert status == 404
    assert "does not compact" in text


async def test_effort_goes_to_the_provider(start_api: StartAPI) -> None:
    """As it is, and so does the verbosity."""
    provider = able(["ok", Finish()])
    api = await start_api(p=provider)
    response = await create(api, reasoning={"effort": "low"}, text={"verbosity": "high"})
    assert provider.requests[0].provider_options == {"reasoning_effort": "low", "verbosity": "high"}
    assert (response.reasoning.effort, response.text.verbosity) == ("low", "high")
