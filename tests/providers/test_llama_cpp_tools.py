"""Tools with files whose chat template knows them: llama.cpp applies the template, and parses the calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from mcp_server.errors import UnsupportedByModel
from mcp_server.interfaces import Finish, GenerateRequest, ProviderEvent, ToolArgumentsDelta, ToolCallStart
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.providers.llama_cpp.settings import LlamaCppModel, LlamaCppSettings
from mcp_server.values import (
    FinishReason,
    GenerationConfig,
    Message,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.providers.conftest import MODEL, events_of, text_of
from tests.small_models.llama_server import TEMPLATE

pytestmark = pytest.mark.asyncio(loop_scope="session")

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="weather", description="The weather in a city.", parameters_json=json.dumps(CITY))
TIME = Tool(name="time", description="The time in a city.", parameters_json=json.dumps(CITY))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tooled(model_file: Path) -> AsyncIterator[LlamaCppProvider]:
    """The embedded model, with a chat template for tools."""
    model = LlamaCppModel(path=model_file, chat_template=TEMPLATE, temperature=0.0)
    provider = LlamaCppProvider(LlamaCppSettings(models={"tooled": model}))
    yield provider
    await provider.close()


def user(text: str) -> Message:
    """What the user says."""
    return Message(role=Role.USER, parts=(Text(text=text),))


def called(*cities: str, tool: str = "weather") -> tuple[Message, ...]:
    """A model that small has to be shown how: a question, and one call for each city."""
    calls = [ToolCall(id=f"{tool}-{city}", name=tool, arguments_json=json.dumps({"city": city})) for city in cities]
    return user(f"{tool.capitalize()} in {' and in '.join(cities)}?"), Message(role=Role.ASSISTANT, parts=tuple(calls))


def asking(
    *messages: Message, mode: str = "auto", name: str = "", parallel: bool = True, **fields: Any
) -> GenerateRequest:
    """A conversation with tools."""
    config = {"max_output_tokens": 60, **fields.pop("config", {})}
    return GenerateRequest(
        model="tooled",
        messages=messages,
        config=GenerationConfig(**config),
        tool_choice=ToolChoice(mode=mode, name=name, parallel=parallel),
        **{"tools": (WEATHER,), **fields},
    )


def calls_of(events: list[ProviderEvent]) -> list[tuple[str, dict[str, Any]]]:
    """The calls: the name of the tool and the arguments of each."""
    starts = [event for event in events if isinstance(event, ToolCallStart)]
    assert len({start.id for start in starts}) == len(starts)
    pieces = [event for event in events if isinstance(event, ToolArgumentsDelta)]
    return [(start.name, json.loads("".join([p.text for p in pieces if p.id == start.id]))) for start in starts]


def finish_of(events: list[ProviderEvent]) -> Finish:
    """The end of the answer."""
    assert isinstance(events[-1], Finish)
    return events[-1]


SHOWN = (*called("Rome"), *called("Oslo"))
ONE_CALL = [("weather", {"city": "Paris"})]


async def test_the_chat_template_decides_whether_a_model_has_tools(
    provider: LlamaCppProvider, tooled: LlamaCppProvider
) -> None:
    """With the template of its file the embedded model has none, with another it has; nothing is loaded for that."""
    assert [model.capabilities.tools for model in (*await provider.models(), *await tooled.models())] == [False, True]


async def test_a_template_without_tools_is_a_refusal(provider: LlamaCppProvider) -> None:
    """Neither tools nor a history with calls are left out silently; tools that may not be called are no matter."""
    request = replace(asking(user("Weather in Rome?")), model=MODEL)
    with pytest.raises(UnsupportedByModel, match="its chat template does not mention them"):
        await events_of(provider, request)
    with pytest.raises(UnsupportedByModel, match="cannot read tool calls and their results"):
        await events_of(provider, replace(request, messages=(*SHOWN, user("And?")), tools=()))
    events = await events_of(provider, replace(request, tool_choice=ToolChoice(mode="none")))
    assert text_of(events)


async def test_a_call_comes_in_pieces_as_it_is_written(tooled: LlamaCppProvider) -> None:
    """First its id and name, then its arguments piece by piece; its tokens are counted."""
    events = await events_of(tooled, asking(*SHOWN, user("Weather in Paris?")))
    assert calls_of(events) == ONE_CALL
    assert len([event for event in events if isinstance(event, ToolArgumentsDelta)]) > 3
    assert finish_of(events).reason is FinishReason.TOOL_CALLS
    usage = finish_of(events).usage
    assert usage is not None
    assert usage.input_tokens > 100
    assert 10 < usage.output_tokens < 60


async def test_one_answer_may_have_several_calls(tooled: LlamaCppProvider) -> None:
    """Each has an id of its own; where the caller wants one call, there is one."""
    shown = (*called("Rome", "Oslo"), *called("Bern", "Kyiv"))
    request = asking(*shown, user("Weather in Paris and in London?"), config={"max_output_tokens": 90})
    both = [*ONE_CALL, ("weather", {"city": "London"})]
    assert calls_of(await events_of(tooled, request)) == both
    alone = await events_of(tooled, replace(request, tool_choice=ToolChoice(parallel=False)))
    assert calls_of(alone) == ONE_CALL
    assert finish_of(alone).reason is FinishReason.TOOL_CALLS


async def test_a_result_is_answered(tooled: LlamaCppProvider) -> None:
    """A call and its result reach the model, and it goes on with text."""
    question, call = called("Rome")
    result = ToolResult(tool_call_id="weather-Rome", parts=(Text(text="The weather in Rome is sunny, 31 degrees."),))
    done = Message(role=Role.TOOL, parts=(result,))
    events = await events_of(tooled, asking(question, call, done, mode="none"))
    assert "31" in text_of(events)
    assert finish_of(events).reason is FinishReason.STOP


async def test_a_required_call_is_the_only_way_to_the_end(tooled: LlamaCppProvider) -> None:
    """What would be answered with text without it, ends with a call; a named tool is the only one."""
    conversation = (*SHOWN, user("Say hello."))
    tools = (TIME, WEATHER)
    request = asking(*conversation, mode="required", tools=tools)
    events = await events_of(tooled, request)
    assert calls_of(events)
    assert finish_of(events).reason is FinishReason.TOOL_CALLS
    named = await events_of(tooled, replace(request, tool_choice=ToolChoice(mode="required", name="time")))
    assert {name for name, _ in calls_of(named)} == {"time"}


async def test_without_a_choice_there_is_no_call(tooled: LlamaCppProvider) -> None:
    """With the mode `none` the tools are not shown."""
    request = asking(user("Weather in Paris?"), mode="none")
    events = await events_of(tooled, request)
    assert not calls_of(events)
    assert await tooled.count_tokens(request) == await tooled.count_tokens(replace(request, tools=()))


async def test_tools_are_counted(tooled: LlamaCppProvider) -> None:
    """The count of a prompt with tools and calls is what is used."""
    request = asking(*SHOWN, user("Weather in Paris?"))
    usage = finish_of(await events_of(tooled, request)).usage
    assert usage is not None
    assert await tooled.count_tokens(request) == usage.input_tokens
    assert await tooled.count_tokens(replace(request, tools=())) < usage.input_tokens


async def test_arguments_follow_the_schema(tooled: LlamaCppProvider) -> None:
    """The grammar of a call has the tool's schema."""
    schema = {"type": "object", "properties": {"unit": {"enum": ["celsius"]}}, "required": ["unit"]}
    tool = Tool(name="weather", parameters_json=json.dumps(schema), strict=True)
    events = await events_of(tooled, asking(*SHOWN, user("Weather in Paris?"), tools=(tool,)))
    assert calls_of(events) == [("weather", {"unit": "celsius"})]


async def test_a_strict_tool_is_strict(tooled: LlamaCppProvider) -> None:
    """What llama.cpp's grammar leaves out of a schema is checked at the end; what cannot be checked is refused."""
    number = {"type": "integer", "minimum": 1, "multipleOf": 1000}
    thousands = {"type": "object", "properties": {"city": number}, "required": ["city"]}
    email = {"type": "object", "properties": {"to": {"format": "email"}}}
    for schema, problem in (
        (thousands, "do not conform to its schema"),
        ({"type": "objekt"}, r"strict tool weather: \$\.type"),
        (email, r"\$\.properties\.to\.format 'email' is not supported"),
        ({"additionalProperties": {"type": "string", "pattern": "^x$"}}, "pattern is not supported for strict tools"),
    ):
        tool = Tool(name="weather", parameters_json=json.dumps(schema), strict=True)
        with pytest.raises(UnsupportedByModel, match=problem):
            await events_of(tooled, asking(*SHOWN, user("Weather in Paris?"), tools=(tool,)))


async def test_a_limit_within_a_call_is_a_limit(tooled: LlamaCppProvider) -> None:
    """A call that was cut is not one to execute, and may stay in the history."""
    request = asking(*SHOWN, user("Weather in Paris?"), config={"max_output_tokens": 18})
    events = await events_of(tooled, request)
    assert finish_of(events).reason is FinishReason.LENGTH
    cut = Message(role=Role.ASSISTANT, parts=(ToolCall(id="cut", name="weather", arguments_json='{"ci'),))
    again = asking(*SHOWN, user("Weather in Bonn?"), cut, user("Weather in Paris?"))
    assert isinstance(finish_of(await events_of(tooled, again)), Finish)


async def test_a_call_can_be_cancelled_while_it_is_written(tooled: LlamaCppProvider) -> None:
    """The next call is answered."""
    request = asking(*SHOWN, user("Weather in Paris?"))
    begun = asyncio.Event()

    async def read() -> None:
        async for event in tooled.generate(request):
            if isinstance(event, ToolArgumentsDelta):
                begun.set()
                await asyncio.Event().wait()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert calls_of(await events_of(tooled, request)) == ONE_CALL


@pytest.mark.parametrize("mode", ["auto", "required", "none"])
async def test_tools_and_json_go_together(tooled: LlamaCppProvider, mode: str) -> None:
    """The answer is a call, or conforms to the schema."""
    schema = {"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]}
    config = {"response_format": ResponseFormat.JSON_SCHEMA, "json_schema": json.dumps(schema)}
    call = await events_of(tooled, asking(*SHOWN, user("Weather in Paris?"), mode=mode, config=config))
    if mode == "none":
        assert not calls_of(call)
        assert json.loads(text_of(call)).keys() == {"greeting"}
        return
    assert calls_of(call) == ONE_CALL
    if mode == "auto":
        text = await events_of(tooled, asking(user("Say hello to Ann."), mode=mode, config=config))
        assert not calls_of(text)
        assert json.loads(text_of(text)).keys() == {"greeting"}
        assert finish_of(text).reason is FinishReason.STOP
