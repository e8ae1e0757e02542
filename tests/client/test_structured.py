"""Answers of a type: dataclasses, TypedDicts, Structs, pydantic models, and lists of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import jsonschema
import msgspec
import pydantic
import pytest

from mcp_client import FinishReason, InvalidAnswer, MCPClient, Role
from mcp_server.interfaces import Finish, ToolArgumentsDelta, ToolCallStart
from mcp_server.testing import Step
from mcp_server.values import Capabilities, Model
from mcp_server.values import FinishReason as Reason
from tests.client.beside import ScriptedProvider
from tests.client.conftest import Connect

MODEL = Model(name="scripted", capabilities=Capabilities(chat=True, tools=True, json_schema=True))
ROME = '{"name": "Rome", "people": 2800000}'


@dataclass
class City:
    """A city."""

    name: str
    people: int = 0


class CityDict(TypedDict):
    """A city."""

    name: str
    people: int


class CityStruct(msgspec.Struct):
    """A city."""

    name: str
    people: Annotated[int, msgspec.Meta(ge=0)]


class Node(msgspec.Struct):
    """It contains itself."""

    name: str
    nodes: list[Node]


def saying(*texts: str) -> ScriptedProvider:
    """A provider that can be held to a schema, and is not."""
    return ScriptedProvider.saying(*texts, model=MODEL)


def sent_schema(provider: ScriptedProvider, call: int = 0) -> dict[str, Any]:
    """The schema that a provider was given; it is a valid one."""
    config = provider.requests[call].config
    schema: dict[str, Any] = json.loads(config.json_schema or "")
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (City, ROME, City(name="Rome", people=2_800_000)),
        (CityDict, ROME, {"name": "Rome", "people": 2_800_000}),
        (CityStruct, ROME, CityStruct(name="Rome", people=2_800_000)),
        (list[City], f'{{"value": [{ROME}]}}', [City(name="Rome", people=2_800_000)]),
        (int, '{"value": 7}', 7),
        (Node, '{"name": "a", "nodes": [{"name": "b", "nodes": []}]}', Node("a", [Node("b", [])])),
        (dict[str, int], '{"a": 1}', {"a": 1}),
    ],
)
async def test_the_answer_is_a_value_of_the_type(connect: Connect, kind: Any, text: str, value: Any) -> None:
    """And the model is held to the JSON Schema of it, which is an object that allows the answer."""
    provider = saying(text)
    client = await connect(provider)
    reply = await client.chat("Which?", schema=kind)
    assert reply.parsed == value
    assert (reply.text, reply.finish_reason) == (text, FinishReason.STOP)
    schema = sent_schema(provider)
    assert schema["type"] == "object"
    jsonschema.validate(json.loads(text), schema)


async def test_the_type_may_be_a_pydantic_model(connect: Connect) -> None:
    """Alone, and in a list; it validates as pydantic does."""

    class Place(pydantic.BaseModel):
        name: str
        people: int = pydantic.Field(ge=0, alias="inhabitants")

    text = '{"name": "Rome", "inhabitants": 7}'
    provider = saying(text, f'{{"value": [{text}]}}', '{"name": "Rome", "inhabitants": -1}')
    client = await connect(provider)
    rome = Place(name="Rome", inhabitants=7)
    assert (await client.chat("Which?", schema=Place)).parsed == rome
    assert (await client.chat("Which?", schema=list[Place])).parsed == [rome]
    with pytest.raises(InvalidAnswer, match="greater than or equal to 0"):
        await client.chat("Which?", schema=Place)
    assert sent_schema(provider)["required"] == ["name", "inhabitants"]


async def test_all_fields_are_asked_for_and_no_others(connect: Connect) -> None:
    """As providers demand that hold a model to the schema."""
    provider = saying(f'{{"value": [{ROME}]}}')
    client = await connect(provider)
    await client.chat("Which?", schema=list[City])
    city = sent_schema(provider)["$defs"]["City"]
    assert (city["required"], city["additionalProperties"]) == (["name", "people"], False)


async def test_a_wrong_answer_is_an_error_that_has_it(connect: Connect) -> None:
    """It says where the answer is wrong."""
    client = await connect(saying('{"name": 7, "people": 1}'))
    with pytest.raises(InvalidAnswer) as caught:
        await client.chat("Which?", schema=City)
    assert caught.value.answer == '{"name": 7, "people": 1}'
    assert str(caught.value).startswith("the answer of scripted/scripted is not a City: Expected `str`, got `int`")
    assert "$.name" in str(caught.value)
    assert caught.value.turn.startswith("turns/")


async def test_a_repair_tells_the_model_what_is_wrong(connect: Connect) -> None:
    """Once, with the conversation and its own answer."""
    provider = saying("Rome!", ROME)
    client = await connect(provider)
    reply = await client.chat("Which?", schema=City, repair=True, request_id="job")
    assert reply.parsed.name == "Rome"
    assert [message.role.value for message in provider.requests[1].messages] == ["user", "assistant", "user"]
    assert "Your answer is not valid: JSON is malformed" in str(provider.requests[1].messages[-1])
    assert sent_schema(provider, 1) == sent_schema(provider)
    assert (await client.get_turn(reply.turn)).request_id == "job.1"


async def test_a_repair_in_a_session_is_part_of_its_history(connect: Connect) -> None:
    """The session sends the conversation itself."""
    provider = saying("Rome!", ROME)
    client = await connect(provider)
    session = await client.create_session()
    tour = client.with_options(session=session)
    assert (await tour.chat("Which?", schema=City, repair=True)).parsed.people == 2_800_000
    roles = [message.role async for message in client.list_messages(session)]
    assert roles == [Role.USER, Role.ASSISTANT] * 2
    assert len(provider.requests[1].messages) == 3


async def test_a_second_wrong_answer_is_an_error(connect: Connect) -> None:
    """There is one repair at most."""
    provider = saying("Rome!", "Paris!", ROME)
    client = await connect(provider)
    with pytest.raises(InvalidAnswer) as caught:
        await client.chat("Which?", schema=City, repair=True)
    assert caught.value.answer == "Paris!"
    assert len(provider.requests) == 2


async def test_an_answer_that_was_cut_off_is_not_repaired(connect: Connect) -> None:
    """Another turn would be cut off too."""
    script: Sequence[Step] = ['{"name": "Ro', Finish(reason=Reason.LENGTH)]
    provider = ScriptedProvider(script, model=MODEL)
    client = await connect(provider)
    with pytest.raises(InvalidAnswer, match="raise max_output_tokens"):
        await client.chat("Which?", schema=City, repair=True, max_output_tokens=3)
    assert len(provider.requests) == 1


async def test_the_final_answer_after_tools_has_a_type_too(connect: Connect) -> None:
    """Each round is held to the schema."""
    call: Sequence[Step] = [
        ToolCallStart(id="c1", name="people"),
        ToolArgumentsDelta(id="c1", text='{"city": "Rome"}'),
        Finish(reason=Reason.TOOL_CALLS),
    ]
    client = await connect(ScriptedProvider(call, [ROME, Finish()], model=MODEL))

    def people(city: str) -> int:
        """How many live there."""
        return {"Rome": 2_800_000}[city]

    reply = await client.chat_with_tools("How many?", tools=[people], schema=City)
    assert reply.parsed == City(name="Rome", people=2_800_000)


async def test_the_answer_of_a_stream_is_a_value_too(connect: Connect) -> None:
    """It yields the text, and has the value afterwards; before that, asking for it is a mistake of the program."""
    provider = saying(ROME, ROME)
    client = await connect(provider)
    async with client.stream_chat("Which?", schema=City) as stream:
        with pytest.raises(RuntimeError, match="not complete"):
            _ = stream.parsed
        assert "".join([token async for token in stream]) == ROME
    rome = City(name="Rome", people=2_800_000)
    assert stream.parsed == rome
    assert sent_schema(provider)["type"] == "object"
    async with client.stream_chat("Which?", schema=City) as stream:
        reply = await stream.reply()
    assert (reply.parsed, reply.text) == (rome, ROME)


async def test_a_wrong_answer_of_a_stream_is_an_error_where_it_is_asked_for(connect: Connect) -> None:
    """Its text can be read all the same."""
    client = await connect(saying('{"name": 7, "people": 1}'))
    async with client.stream_chat("Which?", schema=City) as stream:
        assert [token async for token in stream]
    with pytest.raises(InvalidAnswer, match=r"\$\.name") as caught:
        _ = stream.parsed
    assert caught.value.answer == stream.text
    with pytest.raises(InvalidAnswer):
        await stream.reply()


@pytest.mark.parametrize(
    ("error", "options"),
    [
        ("repair: requires schema", {"repair": True}),
        ("schema: cannot be combined with json_schema", {"schema": City, "json_schema": {}}),
        ("schema: cannot be combined with json", {"schema": City, "json": True}),
        ("schema: cannot be described to a model", {"schema": complex}),
        ("schema: cannot be described to a model", {"schema": City(name="Rome")}),
        ("schema: cannot be combined with tools; chat_with_tools", {"schema": City, "tools": [print]}),
        ("request_id: at most 126 characters", {"schema": City, "repair": True, "request_id": "x" * 127}),
    ],
)
async def test_what_cannot_be_combined_is_refused(client: MCPClient, error: str, options: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises((ValueError, TypeError)) as caught:
        await client.chat("Which?", **options)
    assert str(caught.value).startswith(error)
    if "repair" not in options:
        with pytest.raises((ValueError, TypeError)) as caught:
            client.stream_chat("Which?", **options)
        assert str(caught.value).startswith(error)
