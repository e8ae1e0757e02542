"""What a model reads about the parameters of a function, and the values that the function receives."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NotRequired, Required, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from mcp_client import Text, Tool, ToolCall, ToolResult
from mcp_client.tools.toolset import ToolSet


class Place(TypedDict):
    """Where."""

    city: str
    country: NotRequired[str]


class Filter(TypedDict, total=False):
    """What to look for."""

    city: Required[str]
    country: str


class Size(enum.IntEnum):
    """How large."""

    SMALL = 1
    LARGE = 2


@dataclass
class Tree:
    """A node with others below it."""

    name: str
    below: list[Tree] | None = None


class Street(pydantic.BaseModel):
    """A street."""

    name: str


class Address(pydantic.BaseModel):
    """Where somebody lives."""

    street: Street
    number: int = pydantic.Field(gt=0)


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The schema as it is sent."""
    schema = Tool.of(function).parameters
    assert isinstance(schema, dict)
    sent: dict[str, Any] = json.loads(json.dumps(schema))
    return sent


def called(function: Callable[..., Any], arguments: Any) -> tuple[str, bool]:
    """What a call with these arguments answers, and whether that is an error."""
    call = ToolCall(id="1", name=function.__name__, arguments_json=json.dumps(arguments))
    result = ToolSet([function]).run(call)
    assert isinstance(result, ToolResult)
    (part,) = result.parts
    assert isinstance(part, Text)
    return part.text, result.is_error


@pytest.mark.parametrize(
    ("kind", "sent", "received", "schema"),
    [
        (date, "2026-02-28", date(2026, 2, 28), {"type": "string", "format": "date"}),
        (
            Annotated[datetime, msgspec.Meta(tz=True)],
            "2026-02-28T12:00:00Z",
            datetime(2026, 2, 28, 12, tzinfo=UTC),
            {"type": "string", "format": "date-time"},
        ),
        (timedelta, "PT1M", timedelta(minutes=1), {"type": "string", "format": "duration"}),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID(int=0x12345678123456781234567812345678), None),
        (Decimal, "1.10", Decimal("1.10"), {"type": "string", "format": "decimal"}),
        (Decimal, 1.1, Decimal("1.1"), None),
        (bytes, "eA==", b"x", {"type": "string", "contentEncoding": "base64"}),
        (dict[int, str], {"1": "a"}, {1: "a"}, None),
        (tuple[int, str], [1, "a"], (1, "a"), None),
        (frozenset[int], [1, 2, 1], frozenset({1, 2}), None),
        (int, 2.0, 2, {"type": "integer"}),
        (float, 2, 2.0, {"type": "number"}),
        (Any, [1, None], [1, None], {}),
        (dict[str, object], {"a": [1]}, {"a": [1]}, None),
        (Size, 2, Size.LARGE, None),
    ],
)
def test_a_value_arrives_in_its_type(kind: Any, sent: Any, received: Any, schema: Any) -> None:
    """What JSON has no type for is a string of a known format."""

    def function(x: Any) -> None:
        assert (type(x), x) == (type(received), received)

    function.__annotations__["x"] = kind
    assert called(function, {"x": sent}) == ("null", False)
    if schema is not None:
        assert parameters_of(function)["properties"]["x"] == schema


def test_optional_keys_of_a_typed_dict_are_optional() -> None:
    """Also where annotations are not evaluated, as in this file."""

    def look(place: Place) -> str:
        return str(place)

    def find(filter: Filter) -> str:
        return filter["city"]

    assert parameters_of(look)["$defs"]["Place"]["required"] == ["city"]
    assert parameters_of(find)["$defs"]["Filter"]["required"] == ["city"]
    assert called(look, {"place": {"city": "Rome"}}) == ("{'city': 'Rome'}", False)
    assert called(find, {"filter": {}}) == ("ValueError: filter: Object missing required field `city`", True)


def test_an_enum_of_numbers_has_a_type() -> None:
    """Which some providers require."""

    def order(size: Size = Size.SMALL) -> None: ...

    schema = parameters_of(order)
    assert schema["$defs"]["Size"]["type"] == "integer"
    assert schema["properties"]["size"]["default"] == 1


def test_a_constraint_is_described_and_checked() -> None:
    """As ``msgspec.Meta`` states it."""

    def roll(dice: Annotated[int, msgspec.Meta(ge=1, le=6, description="how many")]) -> int:
        return dice

    (dice,) = parameters_of(roll)["properties"].values()
    assert dice == {"type": "integer", "minimum": 1, "maximum": 6, "description": "how many"}
    assert called(roll, {"dice": 7}) == ("ValueError: dice: Expected `int` <= 6", True)
    assert called(roll, {"dice": 6}) == ("6", False)


def test_a_type_may_contain_itself() -> None:
    """The schema refers to its own definition."""

    def count(tree: Tree) -> int:
        return 1 + sum(count(child) for child in tree.below or [])

    schema = parameters_of(count)
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert called(count, {"tree": {"name": "a", "below": [{"name": "b"}, {"name": "c", "below": []}]}}) == ("3", False)


def test_a_pydantic_model_validates_itself() -> None:
    """And describes itself, with the models that it is made of."""

    def move(address: Address, others: list[Address] | None = None) -> Address:
        assert isinstance(address, Address)
        assert others is None or all(isinstance(other, Address) for other in others)
        return address

    rome = {"street": {"name": "Via Roma"}, "number": 7}
    schema = parameters_of(move)
    address = schema["properties"]["address"]
    assert address["description"] == "Where somebody lives."
    assert address["properties"]["number"]["exclusiveMinimum"] == 0
    name = address["properties"]["street"]["$ref"].removeprefix("#/$defs/")
    assert schema["$defs"][name]["properties"] == {"name": {"title": "Name", "type": "string"}}
    assert json.loads(called(move, {"address": rome, "others": [rome]})[0]) == rome
    text, is_error = called(move, {"address": {**rome, "number": 0}})
    assert is_error
    assert "greater than 0" in text


def test_results_are_sent_as_json() -> None:
    """Of every type that a parameter can have."""

    class Loud(str):
        """A text of a library's own."""

        __slots__ = ()

    def everything() -> Any:
        return {
            "date": date(2026, 2, 28),
            "decimal": Decimal("1.10"),
            "size": Size.LARGE,
            "set": {3, 1, 2},
            "tree": Tree(name="a"),
            "model": Street(name="Via Roma"),
            "loud": Loud("x"),
            1: None,
        }

    assert json.loads(called(everything, {})[0]) == {
        "date": "2026-02-28",
        "decimal": "1.10",
        "size": 2,
        "set": [1, 2, 3],
        "tree": {"name": "a", "below": None},
        "model": {"name": "Via Roma"},
        "loud": "x",
        "1": None,
    }


def test_pydantic_is_imported_only_by_the_caller() -> None:
    """Who does not use it does not need it."""
    program = (
        "import sys, mcp_client\n"
        "def add(a: int, b: int = 1) -> int: return a + b\n"
        "mcp_client.Tool.of(add)\n"
        "assert 'pydantic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
