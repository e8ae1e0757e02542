"""Models that ask for tools: by hand, and with functions that the client runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from mcp_client import (
    FinishReason,
    InvalidArgument,
    MCPClient,
    Message,
    RequestIdReused,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    ToolResultsMissing,
    ToolRoundsExceeded,
    ToolRun,
    TurnCompleted,
    UnsupportedByModel,
)
from mcp_server import messages as core
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.messages import Capabilities, Model
from mcp_server.testing import Step
from tests.client.beside import ScriptedProvider
from tests.client.conftest import Connect
from tests.client.functions import Meeting, broken, everything, slow_temperature, temperature

ABLE = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True))
ROME = {"place": {"city": "Rome"}}


def asking(*calls: tuple[str, Any], saying: str = "") -> list[Step]:
    """An answer that asks for these tools, with these arguments; what is no text is sent as JSON."""
    steps: list[Step] = [saying] if saying else []
    for number, (name, arguments) in enumerate(calls):
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        steps += [ToolCallStart(id=f"c{number}", name=name), ToolArgumentsDelta(id=f"c{number}", text=text)]
    return [*steps, Finish(reason=core.FinishReason.TOOL_CALLS)]


def provider_of(*scripts: list[Step]) -> ScriptedProvider:
    """A model that can use tools."""
    return ScriptedProvider(*scripts, model=ABLE)


def told(provider: ScriptedProvider, request: int = -1) -> list[tuple[str, bool]]:
    """What the model was told that the tools had answered, and whether as an error."""
    return [
        (part.text, result.is_error)
        for message in provider.requests[request].messages
        for result in message.parts
        if isinstance(result, core.ToolResult)
        for part in result.parts
        if isinstance(part, core.Text)
    ]


async def test_tools_are_offered_asked_for_and_answered(connect: Connect) -> None:
    """By hand: what is offered reaches the model, its calls come back, and their results are the next messages."""
    provider = provider_of(asking(("add", {"a": 1})), ["2", Finish()])
    client = await connect(provider)
    session = await client.create_session()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tools = [Tool(name="add", description="Adds one.", parameters=schema), Tool(name="text", parameters='{"x":  1}')]
    choice = ToolChoice(mode="required", name="add")
    reply = await client.chat("1 + 1?", session=session, tools=tools, tool_choice=choice)
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    (call,) = reply.message.tool_calls
    assert (call.name, json.loads(call.arguments_json)) == ("add", {"a": 1})
    request = provider.requests[0]
    assert [(tool.name, tool.description) for tool in request.tools] == [("add", "Adds one."), ("text", "")]
    assert json.loads(request.tools[0].parameters_json) == schema
    assert request.tools[1].parameters_json == '{"x":  1}'
    assert request.tool_choice == core.ToolChoice(mode="required", name="add")
    with pytest.raises(ToolResultsMissing):
        await client.chat("Well?", session=session)
    answer = Message.tool(ToolResult(tool_call_id=call.id, parts=[Text(text="2")]))
    async with client.stream_chat(answer, session=session, tools=tools, tool_choice="none") as stream:
        assert (await stream.reply()).text == "2"
    assert told(provider) == [("2", False)]
    assert provider.requests[1].tool_choice == core.ToolChoice(mode="none")


async def test_functions_are_run_until_the_model_answers(connect: Connect) -> None:
    """In a session: each round is a turn of its own, and all of it is in the history."""
    provider = provider_of(
        asking(("temperature", ROME), saying="Let me see. "),
        asking(("slow_temperature", {"city": "Oslo"})),
        ["Both ", "are warm.", Finish()],
    )
    client = await connect(provider)
    session = await client.create_session("tour")
    reply = await client.chat_with_tools(
        "Where is it warm?",
        tools=[temperature, slow_temperature],
        session=session,
        etag=session.etag,
        request_id="mine",
    )
    assert reply.text == "Both are warm."
    assert told(provider) == [("21 C in Rome, IT", False), ('{"city": "Oslo", "degrees": 21.5}', False)]
    turns = [turn async for turn in client.list_turns(session)]
    assert [turn.request_id for turn in reversed(turns)] == ["mine", "mine.1", "mine.2"]
    roles = [str(message.role) async for message in client.list_messages(session)]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


async def test_without_a_session_the_client_keeps_the_conversation(connect: Connect) -> None:
    """What was said, asked and answered goes with each round."""
    provider = provider_of(asking(("temperature", ROME)), asking(("temperature", ROME)), ["Warm.", Finish()])
    client = await connect(provider)
    messages: list[str | Message] = [Message.system("Be brief."), "Is Rome warm?"]
    assert (await client.chat_with_tools(messages, tools=[temperature])).text == "Warm."
    roles = [str(message.role) for message in provider.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool"]
    assert all(len(request.tools) == 1 for request in provider.requests)


async def test_all_that_happens_can_be_watched(connect: Connect) -> None:
    """The text of all rounds as it comes; their events, and what was run between them."""
    scripts: list[list[Step]] = [asking(("temperature", ROME), saying="Let me see. "), ["Warm.", Finish()]]
    client = await connect(provider_of(*scripts, *scripts))
    async with client.stream_chat_with_tools("Is Rome warm?", tools=[temperature]) as stream:
        assert [token async for token in stream] == ["Let me see. ", "Warm."]
        assert stream.text == (await stream.reply()).text == "Warm."
        assert stream.turn == stream.replies[1].turn != stream.replies[0].turn
    async with client.stream_chat_with_tools("Is Rome warm?", tools=[temperature]) as stream:
        events = [event async for event in stream.events()]
    assert len([event for event in events if isinstance(event, TurnCompleted)]) == 2
    (run,) = [event for event in events if isinstance(event, ToolRun)]
    assert (run.call.name, run.result) == (
        "temperature",
        ToolResult(tool_call_id=run.call.id, parts=(Text(text="21 C in Rome, IT"),)),
    )


async def test_what_goes_wrong_is_told_to_the_model(connect: Connect) -> None:
    """An exception, a name that nobody has, arguments that do not fit or are no JSON."""
    provider = provider_of(
        asking(
            ("broken", {"times": 2}),
            ("nosuch", {}),
            ("temperature", {"place": {"town": "Rome"}}),
            ("temperature", {"place": {"city": 7}}),
            ("temperature", {**ROME, "unit": "K"}),
            ("broken", {"times": 2.5}),
            ("broken", "{not json"),
        ),
        ["Sorry.", Finish()],
    )
    client = await connect(provider)
    assert (await client.chat_with_tools("Do it.", tools=[broken, temperature])).text == "Sorry."
    answers = told(provider)
    assert all(is_error for _, is_error in answers)
    expected = [
        "LookupError: no such thing, 2 times",
        "LookupError: there is no tool 'nosuch'",
        "ValueError: place: Place: city missing",
        "ValueError: place: city: expected string, not 7",
        "ValueError: unit: expected one of 'C', 'F', not 'K'",
        "ValueError: times: expected integer, not 2.5",
        "JSONDecodeError: ",
    ]
    assert [text[: len(start)] for (text, _), start in zip(answers, expected, strict=True)] == expected


async def test_every_type_arrives_as_itself(connect: Connect) -> None:
    """And the schema says what it is."""
    arguments = {
        "text": "a",
        "number": 1,
        "choice": 1,
        "several": [1, 2.0],
        "table": {"x": True},
        "when": {"first": 7},
        "rest": [None],
    }
    provider = provider_of(asking(("everything", arguments)), ["ok", Finish()])
    client = await connect(provider)
    await client.chat_with_tools("Do it.", tools=[everything])
    assert told(provider) == [(repr(("a", 1.0, 1, [1, 2], {"x": True}, {"first": 7}, None, [None])), False)]
    (tool,) = provider.requests[0].tools
    schema = json.loads(tool.parameters_json)
    assert schema == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "any text"},
            "number": {"type": "number", "description": "how much."},
            "choice": {"enum": ["a", 1]},
            "several": {"type": "array", "items": {"type": "integer"}},
            "table": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "when": {
                "type": "object",
                "properties": {"first": {"type": "integer"}, "last": {"type": "integer"}},
                "required": [],
                "additionalProperties": False,
            },
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "rest": {},
        },
        "required": ["text", "number", "choice", "several", "table", "when"],
        "additionalProperties": False,
    }


def test_a_function_says_itself_what_it_does() -> None:
    """By its docstring: the first part, and one line for each parameter."""
    tool = Tool.of(temperature)
    assert (tool.name, tool.description) == ("temperature", "How warm it is somewhere.\n\nNow, not tomorrow.")
    assert isinstance(tool.parameters, dict)
    place, unit = tool.parameters["properties"].values()
    assert place["description"] == "where; a city and its country."
    assert place["required"] == ["city"]
    assert unit == {"enum": ["C", "F"], "type": "string", "description": "of the answer."}
    assert tool.parameters["required"] == ["place"]


def no_annotation(x) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  # wrong on purpose


def positional(x: int, /) -> None: ...


def many(*xs: int) -> None: ...


def bytewise(x: bytes) -> None: ...


def keyed(x: dict[int, str]) -> None: ...


def pair(x: tuple[int, str]) -> None: ...


def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # wrong on purpose


@dataclass
class Node:
    """One that has others."""

    next: Node | None


def recursive(x: Node) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_annotation, "parameter x: it has no annotation"),
        (positional, "parameter x: a model gives arguments by their names"),
        (many, "parameter xs: a model gives"),
        (bytewise, "parameter x: .*bytes.* cannot be described"),
        (keyed, "parameter x: the keys"),
        (pair, "parameter x: a tuple of a fixed length"),
        (unknown, "tool unknown: .*Nowhere"),
        (recursive, "parameter x.next: Node contains itself"),
        (lambda: None, "a function with a name"),
        (7, "a function with a name"),
    ],
)
async def test_what_cannot_be_described_is_said_at_once(function: Any, problem: str) -> None:
    """With the names of the function and the parameter, before anything is sent."""
    async with MCPClient("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match=problem):
            client.stream_chat_with_tools("Hi", tools=[function])


async def test_bad_arguments_are_named(client: MCPClient) -> None:
    """Before anything is sent; what the model cannot do, by the server."""
    with pytest.raises(ValueError, match="two are named 'temperature'"):
        await client.chat_with_tools("Hi", tools=[temperature, temperature])
    with pytest.raises(ValueError, match="max_rounds"):
        await client.chat_with_tools("Hi", tools=[temperature], max_rounds=0)
    with pytest.raises(TypeError, match="tools: expected a Tool"):
        await client.chat("Hi", tools=[temperature])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(ValueError, match="tool_choice"):
        await client.chat("Hi", tool_choice="always")
    with pytest.raises(UnsupportedByModel):
        await client.chat_with_tools("Hi", tools=[temperature])


async def test_several_calls_run_beside_each_other(connect: Connect) -> None:
    """None waits for another, and the results keep their order."""
    meeting = Meeting()
    provider = provider_of(asking(("meet", {"name": "one"}), ("meet", {"name": "two"})), ["ok", Finish()])
    client = await connect(provider)
    await client.chat_with_tools("Meet.", tools=[meeting.meet])
    assert told(provider) == [("one was there", False), ("two was there", False)]


async def test_a_model_that_does_not_stop_asking_is_stopped(connect: Connect) -> None:
    """It is told to answer without tools; if it asks even then, that is an error."""
    provider = provider_of(*[asking(("temperature", ROME))] * 2, ["Enough.", Finish()], asking(("temperature", ROME)))
    client = await connect(provider)
    assert (
        await client.chat_with_tools("Hi", tools=[temperature], max_rounds=2, tool_choice="required")
    ).text == "Enough."
    assert [request.tool_choice.mode for request in provider.requests] == ["required", "auto", "none"]
    async with client.stream_chat_with_tools("Hi", tools=[temperature], max_rounds=1) as stream:
        for _ in range(2):
            with pytest.raises(ToolRoundsExceeded, match="temperature") as caught:
                await stream.reply()
    assert len(stream.replies) == 2
    assert caught.value.turn == stream.turn


async def test_a_round_that_fails_fails_the_call(connect: Connect) -> None:
    """As any turn; a key that was used for something else is said to be so."""
    provider = provider_of(asking(("temperature", ROME)), [ProviderUnavailable("gone")], ["ok", Finish()])
    client = await connect(provider)
    async with client.stream_chat_with_tools("Hi", tools=[temperature]) as stream:
        for _ in range(2):
            with pytest.raises(Exception, match="gone"):
                await stream.reply()
    await client.chat("Hi", request_id="mine")
    with pytest.raises(RequestIdReused):
        await client.chat_with_tools("Hi", tools=[temperature], request_id="mine")
    with pytest.raises(InvalidArgument):
        await client.chat_with_tools("", tools=[temperature])


def test_a_call_is_what_it_was() -> None:
    """The parts that are no calls are left out."""
    call = ToolCall(id="c", name="x")
    message = Message.assistant("Hm.")
    assert message.tool_calls == ()
    assert Message(role=message.role, parts=[*message.parts, call]).tool_calls == (call,)
