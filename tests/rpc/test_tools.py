"""Tools: what the model may call reaches the provider, and what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from contextprotocol.v1 import chat_pb2, generation_pb2, message_pb2
from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import ScriptedProvider, Step
from mcp_server.values import (
    Capabilities,
    FinishReason,
    Model,
    Tool,
    ToolChoice,
)
from tests.conftest import Serve
from tests.wire import Refused, Wire, user

ADD = generation_pb2.Tool(name="add", description="Adds numbers.", parameters_json='{"type":"object"}')
CAN = Capabilities(chat=True, tools=True)


async def test_a_tool_call_goes_to_the_caller_and_its_result_to_the_model(serve: Serve) -> None:
    """The model asks, the caller answers in the next turn, and both are in the history that the model sees."""
    call: list[Step] = [
        ToolCallStart(id="c1", name="add"),
        ToolArgumentsDelta(id="c1", text='{"x":1,'),
        ToolArgumentsDelta(id="c1", text='"y":2}'),
        Finish(reason=FinishReason.TOOL_CALLS),
    ]
    provider = ScriptedProvider(call, ["3", Finish()], model=Model(name="m", capabilities=CAN))
    wire = await serve(providers={"p": provider})
    session = await wire.create()
    choice = generation_pb2.ToolChoice(mode=generation_pb2.ToolChoice.MODE_REQUIRED, name="add")
    asked = await wire.chat.Chat(
        chat_pb2.ChatRequest(session=session.name, messages=[user("1 + 2?")], tools=[ADD], tool_choice=choice)
    )
    (part,) = asked.completed.message.parts
    assert (part.tool_call.name, part.tool_call.arguments_json) == ("add", '{"x":1,"y":2}')
    tool = Tool(name="add", description="Adds numbers.", parameters_json='{"type":"object"}')
    assert provider.requests[0].tools == (tool,)
    assert provider.requests[0].tool_choice == ToolChoice(mode="required", name="add")

    result = message_pb2.ToolResult(tool_call_id="c1", parts=[message_pb2.Part(text="3")])
    message = message_pb2.Message(role=message_pb2.ROLE_TOOL, parts=[message_pb2.Part(tool_result=result)])
    answered = await wire.chat.Chat(chat_pb2.ChatRequest(session=session.name, messages=[message], tools=[ADD]))
    assert answered.completed.message.parts[0].text == "3"
    assert [message.role.value for message in provider.requests[1].messages] == ["user", "assistant", "tool"]
    assert provider.requests[1].tool_choice == ToolChoice()


async def test_a_model_without_tools_gets_none(wire: Wire) -> None:
    """A call with tools is refused where no model can use them."""
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("x")], tools=[ADD]))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_BY_MODEL")
    assert refused.metadata["capability"] == "tools"


_Mode = generation_pb2.ToolChoice


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"tools": [generation_pb2.Tool(name="a b")]}, "tools[0].name"),
        ({"tools": [ADD, ADD]}, "tools[1].name"),
        ({"tools": [generation_pb2.Tool(name="a", parameters_json="[1]")]}, "tools[0].parameters_json"),
        ({"tools": [generation_pb2.Tool(name="a", description="x" * 33_000)]}, "tools[0].description"),
        ({"tools": [generation_pb2.Tool(name=f"t{n}") for n in range(129)]}, "tools"),
        ({"tool_choice": _Mode(mode=_Mode.MODE_REQUIRED)}, "tool_choice.mode"),
        ({"tools": [ADD], "tool_choice": _Mode(mode=99)}, "tool_choice.mode"),  # type: ignore[arg-type]  # what is tested
        ({"tools": [ADD], "tool_choice": _Mode(mode=_Mode.MODE_AUTO, name="add")}, "tool_choice.name"),
        ({"tools": [ADD], "tool_choice": _Mode(mode=_Mode.MODE_REQUIRED, name="sub")}, "tool_choice.name"),
    ],
)
async def test_bad_tools_are_refused(wire: Wire, request_: dict[str, Any], field: str) -> None:
    """With the name of the field."""
    with Refused() as refused:
        await wire.chat.Chat(chat_pb2.ChatRequest(messages=[user("x")], **request_))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert list(refused.violations) == [field]


async def test_an_answer_with_too_many_tool_calls_ends_before_them(serve: Serve) -> None:
    """It is whole as far as it goes, and its session can go on."""
    calls = [ToolCallStart(id=f"c{number}", name="add") for number in range(1500)]
    provider = ScriptedProvider([*calls, Finish()], ["fine", Finish()], model=Model(name="m", capabilities=CAN))
    wire = await serve(providers={"p": provider})
    await wire.create()
    answer = (await wire.say("go", tools=[ADD])).completed
    assert (len(answer.message.parts), answer.finish_reason) == (1000, message_pb2.FINISH_REASON_LENGTH)
    results = message_pb2.Message(role=message_pb2.ROLE_TOOL)
    for part in answer.message.parts:
        results.parts.add().tool_result.tool_call_id = part.tool_call.id
    request = chat_pb2.ChatRequest(session="sessions/tour", messages=[results], tools=[ADD])
    assert (await wire.chat.Chat(request)).completed.message.parts[0].text == "fine"
