"""Answers of a type: ``examples/structured_output``."""

from __future__ import annotations

import json

from mcp_server.testing import ScriptedProvider, running
from mcp_server.values import Capabilities, Model
from tests.examples.programs import printed, started

PROGRAM = "structured_output/structured_output.py"
MODEL = Model(name="typed", capabilities=Capabilities(chat=True, json_schema=True))
CITY = '{"name": "Rome", "country": "Italy", "people": 2800000}'
ORDER = '{"drink": "tea", "cups": 2, "name": "Ada"}'


async def test_answers_are_values_of_a_dataclass_and_of_a_pydantic_model() -> None:
    """The model is given the schema of each."""
    provider = ScriptedProvider.saying(CITY, ORDER, model=MODEL)
    async with running(providers={"scripted": provider}) as server:
        output = await printed(PROGRAM, address=server.address)
    assert output == "Rome in Italy has 2800000 inhabitants\n2 × tea for Ada\nright at once\n"
    schemas = [request.config.json_schema for request in provider.requests]
    assert [set(json.loads(schema or "")["properties"]) for schema in schemas] == [
        {"name", "country", "people"},
        {"drink", "cups", "name"},
    ]


async def test_an_answer_that_breaks_a_rule_is_repaired() -> None:
    """The model is told which."""
    provider = ScriptedProvider.saying(CITY, ORDER.replace("Ada", "ada"), ORDER, model=MODEL)
    async with running(providers={"scripted": provider}) as server:
        output = await printed(PROGRAM, address=server.address)
    assert output.endswith("2 × tea for Ada\nrepaired\n")
    assert "begin the name with a capital letter: 'Ada'" in provider.requests[2].messages[-1].text


async def test_an_answer_that_stays_wrong_is_an_error() -> None:
    """Which says what is wrong, and what the answer was."""
    provider = ScriptedProvider.saying('{"name": "Rome"}', model=MODEL)
    async with (
        running(providers={"scripted": provider}) as server,
        started(PROGRAM, address=server.address) as program,
    ):
        ended = await program.ended()
    assert (ended.status, ended.output) == (1, "")
    assert "country" in ended.errors
    assert 'The answer was: {"name": "Rome"}' in ended.errors
