"""Models that ask for tools: by hand, and with functions that the client runs."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mcp_client import (
    DeadlineExceeded,
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
    TurnCancelled,
    TurnCompleted,
    TurnState,
    UnsupportedByModel,
)
from mcp_server import values as core
from mcp_server.errors import ProviderUnavailable
from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import Step
from mcp_server.values import Capabilities, Model
from tests.client.beside import Gate, ScriptedProvider, interrupt, sleep
from tests.client.conftest import Connect
from tests.client.functions import (
    Meeting,
    Waiting,
    broken,
    decorated,
    everything,
    fail,
    fail_later,
    give,
    give_later,
    passed_on,
    slow_temperature,
    temperature,
    wait_for_nobody,
)

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


def tool_results(provider: ScriptedProvider, request: int = -1) -> list[tuple[str, bool]]:
    """The results of tools in a request to the model, and whether each is an error."""
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
    assert tool_results(provider) == [("2", False)]
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
    assert tool_results(provider) == [("21 C in Rome, IT", False), ('{"city": "Oslo", "degrees": 21.5}', False)]
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


async def test_what_goes_wrong_is_reported_to_the_model(connect: Connect) -> None:
    """An exception, a name that nobody has, arguments that do not fit or are no JSON."""
    provider = provider_of(
        asking(
            ("broken", {"times": 2}),
            ("nosuch", {}),
            ("temperature", {"place": {"town": "Rome"}}),
            ("temperature", {"place": {"city": 7}}),
            ("temperature", {**ROME, "unit": "K"}),
            ("broken", {"times": 2.5}),
            ("broken", {}),
            ("broken", {"times": 2, "often": True}),
            ("broken", "[2]"),
            ("broken", "{not json"),
            ("functions.broken", {"times": 2}),
        ),
        ["Sorry.", Finish()],
    )
    client = await connect(provider)
    assert (await client.chat_with_tools("Do it.", tools=[broken, temperature])).text == "Sorry."
    answers = tool_results(provider)
    assert all(is_error for _, is_error in answers)
    expected = [
        "LookupError: no such thing, 2 times",
        "LookupError: unknown tool 'nosuch'; available: broken, temperature",
        "ValueError: place: Object missing required field `city`",
        "ValueError: place: Expected `str`, got `int` - at `$.city`",
        "ValueError: unit: Invalid enum value 'K'",
        "ValueError: times: Expected `int`, got `float`",
        "ValueError: missing arguments: times",
        "ValueError: unknown arguments: often; allowed: times",
        "ValueError: expected a JSON object",
        "JSONDecodeError: ",
        "LookupError: unknown tool 'functions_broken'; available: broken, temperature",
    ]
    assert [text[: len(start)] for (text, _), start in zip(answers, expected, strict=True)] == expected


@pytest.mark.parametrize("function", [fail, fail_later])
async def test_whatever_a_function_raises_is_reported(connect: Connect, function: Callable[..., Any]) -> None:
    """It ends neither the program nor the conversation, and nobody waits for ever."""
    name = function.__name__
    ways = ["stop", "exit", "cancelled", "speechless", "half", "long"]
    provider = provider_of(asking(*[(name, {"how": way}) for way in ways]), ["Sorry.", Finish()])
    client = await connect(provider)
    session = await client.create_session()
    reply = await client.chat_with_tools("Do it.", tools=[function], session=session, timeout=10)
    assert reply.text == "Sorry."
    answers = tool_results(provider)
    assert all(is_error for _, is_error in answers)
    names = [text.partition(":")[0] for text, _ in answers]
    stop = "StopIteration" if function is fail else "RuntimeError"  # which Python makes of it in a coroutine
    assert names == [stop, "SystemExit", "CancelledError", "Speechless", "LookupError", "LookupError"]
    assert answers[4][0] == "LookupError: half a pair: ?"
    assert len(answers[5][0]) == 10_000


async def test_a_function_may_wait_for_what_is_cancelled(connect: Connect) -> None:
    """That is its own affair: nobody has cancelled who called the client."""
    provider = provider_of(asking(("wait_for_nobody", {})), ["Sorry.", Finish()])
    client = await connect(provider)
    assert (await client.chat_with_tools("Do it.", tools=[wait_for_nobody])).text == "Sorry."
    assert tool_results(provider) == [("CancelledError: ", True)]


@pytest.mark.parametrize("function", [give, give_later])
async def test_what_cannot_be_sent_to_a_model_is_an_error(connect: Connect, function: Callable[..., Any]) -> None:
    """Said of each result by itself: the others arrive."""
    expected = {
        "half": "UnicodeEncodeError: 'utf-8' codec can't encode",
        "long": "ValueError: the result has 3,14",
        "longer": "ValueError: the result has 17,8",
        "empty": "ValueError: a Text of the result is empty",
        "nothing": "ValueError: a Text of the result is empty",
        "untyped": "ValueError: the mime_type of a Blob of the result is 'png'",
        "foreign": "ValueError: the uri of a Blob",
        "nan": "ValueError: Out of range float values are not JSON compliant",
        "object": "TypeError: the result cannot be sent to a model: object has no JSON form",
    }
    calls = [(function.__name__, {"what": what}) for what in expected]
    provider = provider_of(asking(*calls, ("temperature", ROME)), ["Sorry.", Finish()])
    client = await connect(provider)
    session = await client.create_session()
    await client.chat_with_tools("Do it.", tools=[function, temperature], session=session)
    *answers, last = tool_results(provider)
    assert all(is_error for _, is_error in answers)
    assert [text[: len(start)] for (text, _), start in zip(answers, expected.values(), strict=True)] == [
        *expected.values()
    ]
    assert last == ("21 C in Rome, IT", False)


async def test_what_a_function_raises_is_in_the_log(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with its traceback: only the model hears of it otherwise."""
    client = await connect(provider_of(asking(("broken", {"times": 2}), ("temperature", ROME)), ["Sorry.", Finish()]))
    await client.chat_with_tools("Do it.", tools=[broken, temperature])
    (record,) = [record for record in caplog.records if record.name == "mcp_client.tools"]
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        "the tool 'broken' failed; its error is sent to the model",
    )
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


async def test_what_is_to_be_awaited_is_awaited(connect: Connect) -> None:
    """Also of a function that does not look asynchronous."""
    calls = [("decorated", {"city": "Rome"}), ("passed_on", {"city": "Oslo"})]
    provider = provider_of(asking(*calls), ["ok", Finish()])
    client = await connect(provider)
    await client.chat_with_tools("Do it.", tools=[decorated, passed_on])
    assert tool_results(provider) == [("Rome it is", False), ("Oslo it is", False)]


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
    assert tool_results(provider) == [(repr(("a", 1.0, 1, [1, 2], {"x": True}, {"first": 7}, None, [None])), False)]
    (tool,) = provider.requests[0].tools
    schema = json.loads(tool.parameters_json)
    assert schema == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "any text"},
            "number": {"type": "number", "description": "how much."},
            "choice": {"enum": [1, "a"]},
            "several": {"type": "array", "items": {"type": "integer"}},
            "table": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "when": {"$ref": "#/$defs/Range"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "rest": {},
        },
        "required": ["text", "number", "choice", "several", "table", "when"],
        "additionalProperties": False,
        "$defs": {
            "Range": {
                "title": "Range",
                "description": "From when to when.",
                "type": "object",
                "properties": {"first": {"type": "integer"}, "last": {"type": "integer"}},
                "required": [],
            }
        },
    }


def test_a_function_says_itself_what_it_does() -> None:
    """By its docstring: the first part, and one line for each parameter."""
    tool = Tool.of(temperature)
    assert (tool.name, tool.description) == ("temperature", "How warm it is somewhere.\n\nNow, not tomorrow.")
    assert isinstance(tool.parameters, dict)
    assert tool.parameters["properties"] == {
        "place": {"$ref": "#/$defs/Place", "description": "where; a city and its country."},
        "unit": {"$ref": "#/$defs/Unit", "description": "of the answer.", "default": "C"},
    }
    place, unit = tool.parameters["$defs"]["Place"], tool.parameters["$defs"]["Unit"]
    assert place["required"] == ["city"]
    assert unit == {"title": "Unit", "description": "Of temperatures.", "enum": ["C", "F"], "type": "string"}
    assert tool.parameters["required"] == ["place"]


def no_annotation(x) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001  # wrong on purpose


def positional(x: int, /) -> None: ...


def many(*xs: int) -> None: ...


def imaginary(x: complex) -> None: ...


def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # wrong on purpose


class Pairs(enum.Enum):
    """Of what JSON has no single value for."""

    ONE = (1, 2)


class Lists(enum.Enum):
    """The same, and unhashable."""

    ONE = [1, 2]  # noqa: RUF012  # wrong on purpose


class Nothing(enum.Enum):
    """Leaves no choice."""


@dataclass
class Lost:
    """One with an annotation that nobody knows."""

    x: Nowhere  # type: ignore[name-defined]  # noqa: F821  # wrong on purpose


@dataclass
class Initialised:
    """One that is made of more than its fields."""

    x: dataclasses.InitVar[int]


def pairs(x: Pairs) -> None: ...


def lists(x: Lists) -> None: ...


def nothing(x: Nothing) -> None: ...


def lost(x: Lost) -> None: ...


def initialised(x: Initialised) -> None: ...


def literal(x: Literal[b"x"]) -> None: ...


def unwritten(x: int) -> None: ...


unwritten.__annotations__["x"] = "a b"


def größe(x: int) -> None: ...


def named(name: str) -> Any:
    """A function of that name."""

    def function(x: int) -> None: ...

    function.__name__ = name
    return function


class Callback:
    """Not a function."""

    def __call__(self, x: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (no_annotation, "parameter x: no type annotation"),
        (positional, "parameter x: a model passes arguments by name"),
        (many, "parameter xs: a model passes"),
        (imaginary, "parameter x: cannot be described to a model: .*complex"),
        (unknown, "tool unknown: .*Nowhere"),
        (lambda: None, "a function with a name"),
        (7, "a function with a name"),
        (pairs, "parameter x: .*Pairs"),
        (lists, "parameter x: cannot be described"),
        (nothing, "parameter x: .*at least one item"),
        (lost, "parameter x: .*Nowhere"),
        (initialised, "parameter x: .*InitVar"),
        (literal, "parameter x: .*Literal"),
        (unwritten, "tool unwritten: .*a b"),
        (max, "tool max: "),
        (int, "tool int: "),
        (größe, "a function with a name"),
        (named("x" * 129), "a function with a name"),
        (Callback(), "a function with a name"),
        (functools.update_wrapper(Callback(), imaginary, updated=[]), "tool imaginary: "),
    ],
)
async def test_what_cannot_be_described_is_reported_at_once(function: Any, problem: str) -> None:
    """With the names of the function and the parameter, before anything is sent."""
    async with MCPClient("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match=problem):
            client.stream_chat_with_tools("Hi", tools=[function])


async def test_one_function_is_not_several(client: MCPClient) -> None:
    """A frequent slip."""
    with pytest.raises(TypeError, match="tools: expected a sequence of functions, not <function temperature"):
        await client.chat_with_tools("Hi", tools=temperature)  # type: ignore[call-overload]  # wrong on purpose


def choices(x: Literal[1, True], y: float = math.inf, z: float = 1.5) -> str:
    """Has a default that JSON cannot say."""
    return repr((x, y, z))


async def test_what_json_cannot_say_is_left_out(connect: Connect) -> None:
    """The function has it all the same; and what Python takes for equal stays what it is."""
    provider = provider_of(asking(("choices", {"x": 1}), ("choices", {"x": True})), ["ok", Finish()])
    client = await connect(provider)
    await client.chat_with_tools("Do it.", tools=[choices])
    assert tool_results(provider) == [("(1, inf, 1.5)", False), ("(True, inf, 1.5)", False)]
    properties = json.loads(provider.requests[0].tools[0].parameters_json)["properties"]
    assert properties["y"] == {"type": "number"}
    assert properties["z"] == {"type": "number", "default": 1.5}


async def test_a_request_id_has_room_for_all_rounds(connect: Connect) -> None:
    """Or it is refused before a function has run."""
    client = await connect(provider_of(*[asking(("temperature", ROME))] * 8, ["ok", Finish()]))
    with pytest.raises(ValueError, match=r"request_id: at most 126 characters .* appends \.8"):
        await client.chat_with_tools("Hi", tools=[temperature], request_id="x" * 127)
    assert (await client.chat_with_tools("Hi", tools=[temperature], request_id="x" * 126)).text == "ok"


async def test_bad_arguments_are_named(client: MCPClient) -> None:
    """Before anything is sent; what the model cannot do, by the server."""
    for rounds in (1.5, True, "8"):
        with pytest.raises(TypeError, match="max_rounds"):
            await client.chat_with_tools("Hi", tools=[temperature], max_rounds=rounds)  # type: ignore[arg-type]  # too
    with pytest.raises(TypeError, match="unknown option 'after_sequence'"):
        client.stream_chat_with_tools("Hi", tools=[], after_sequence=1)  # type: ignore[call-arg]  # wrong on purpose
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


async def test_an_interrupted_read_loses_nothing(connect: Connect) -> None:
    """Who gives up waiting for a token may come again."""
    gate = Gate()
    client = await connect(provider_of(["Let ", gate, "me ", "see.", Finish()]))
    async with client.stream_chat_with_tools("Hi", tools=[temperature]) as stream:
        assert await anext(stream) == "Let "
        await interrupt(lambda: anext(stream), gate.reached)
        gate.open()
        assert "".join([token async for token in stream]) == "me see."
        assert (await stream.reply()).text == "Let me see."


@pytest.mark.parametrize("name", ["wait", "wait_in_loop"])
async def test_an_interruption_runs_no_function_twice(connect: Connect, name: str) -> None:
    """It goes on meanwhile, and who comes again gets what it has answered."""
    waiting = Waiting()
    provider = provider_of(asking((name, {})), ["ok", Finish()])
    client = await connect(provider)
    async with client.stream_chat_with_tools("Hi", tools=[getattr(waiting, name)]) as stream:
        await interrupt(stream.reply, waiting.begun)
        waiting.may_end.set()
        assert (await stream.reply()).text == "ok"
        assert waiting.runs == 1
        assert [reply.finish_reason for reply in stream.replies] == [FinishReason.TOOL_CALLS, FinishReason.STOP]
    assert tool_results(provider) == [("done", False)]


@pytest.mark.parametrize("name", ["wait", "wait_in_loop"])
async def test_who_leaves_waits_for_no_function(connect: Connect, name: str) -> None:
    """What is asynchronous is cancelled; a thread runs to its end."""
    waiting = Waiting()
    function = getattr(waiting, name)
    client = await connect(provider_of(asking((name, {}), (name, {})), ["ok", Finish()]))
    async with client.stream_chat_with_tools("Hi", tools=[function]) as stream:
        await interrupt(stream.reply, waiting.begun)
    with pytest.raises(RuntimeError, match="left"):
        await stream.reply()
    assert waiting.ended.wait(10) if name == "wait_in_loop" else not waiting.ended.is_set()
    waiting.may_end.set()


@pytest.mark.parametrize("name", ["wait", "wait_in_loop"])
async def test_the_timeout_holds_for_functions_too(connect: Connect, name: str) -> None:
    """They are not waited for, and no other turn begins."""
    waiting = Waiting()
    provider = provider_of(asking((name, {})), ["ok", Finish()])
    client = await connect(provider)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=f"waited for {name}") as caught:
        await client.chat_with_tools("Hi", tools=[getattr(waiting, name)], timeout=1)
    assert 0.9 < time.monotonic() - begun < 5
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert waiting.ended.wait(10) if name == "wait_in_loop" else not waiting.ended.is_set()
    assert len(provider.requests) == 1
    waiting.may_end.set()


async def test_no_turn_begins_when_the_time_is_over(connect: Connect) -> None:
    """Though all functions have answered in time."""
    provider = provider_of(asking(("temperature", ROME)), ["ok", Finish()])
    client = await connect(provider)
    async with client.stream_chat_with_tools("Hi", tools=[temperature], timeout=1) as stream:
        async for event in stream.events():
            if isinstance(event, ToolRun):
                break
        await sleep(1)  # who reads takes its time
        with pytest.raises(DeadlineExceeded):
            await stream.reply()
    assert len(provider.requests) == 1


async def test_a_conversation_can_be_stopped(connect: Connect) -> None:
    """In the turn that runs, or before the next one begins."""
    gate = Gate()
    provider = provider_of(["Let ", gate], asking(("temperature", ROME)), ["never", Finish()])
    client = await connect(provider)
    async with client.stream_chat_with_tools("Hi", tools=[temperature]) as stream:
        assert await anext(stream) == "Let "
        assert (stream.model, stream.usage, stream.finish_reason) == ("scripted/scripted", None, None)
        assert (await stream.cancel()).state is TurnState.CANCELLED
        with pytest.raises(TurnCancelled):
            await stream.reply()
    async with client.stream_chat_with_tools("Hi", tools=[temperature]) as stream:
        async for event in stream.events():
            if isinstance(event, ToolRun):
                break
        assert stream.finish_reason is FinishReason.TOOL_CALLS
        assert stream.usage == stream.replies[0].usage
        assert (await stream.cancel(timeout=5)).state is TurnState.SUCCEEDED
        with pytest.raises(TurnCancelled):
            await stream.reply()
    assert len(provider.requests) == 2


async def test_several_calls_run_beside_each_other(connect: Connect) -> None:
    """None waits for another, and the results keep their order."""
    meeting = Meeting()
    provider = provider_of(asking(("meet", {"name": "one"}), ("meet", {"name": "two"})), ["ok", Finish()])
    client = await connect(provider)
    await client.chat_with_tools("Meet.", tools=[meeting.meet])
    assert tool_results(provider) == [("one was there", False), ("two was there", False)]


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
