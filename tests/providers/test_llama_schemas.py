"""Which JSON Schemas the provider ``llama_cpp`` holds answers to, and that it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mcp_server.errors import InvalidArgument, UnsupportedByModel
from mcp_server.interfaces import Finish, GenerateRequest
from mcp_server.providers.json_schema.constraint import BadSchema, Constraint, constraint
from mcp_server.providers.json_schema.syntax import FORMATS, SUPPORTED
from mcp_server.providers.llama_cpp.options import OPTIONS
from mcp_server.providers.llama_cpp.provider import LlamaCppProvider
from mcp_server.values import FinishReason, GenerationConfig, Message, ResponseFormat, Role, Text
from tests.providers.conftest import MODEL, events_of, text_of

REFUSED: Sequence[tuple[Any, str]] = [
    # Bounds that contradict each other.
    ({"type": "array", "minItems": 5, "maxItems": 3}, "$: minItems 5 is above maxItems 3"),
    ({"type": "string", "minLength": 5, "maxLength": 3}, "$: minLength 5 is above maxLength 3"),
    ({"type": "integer", "minimum": 7, "maximum": 3}, "$: there is no number between minimum 7 and maximum 3"),
    ({"exclusiveMinimum": 3, "maximum": 3}, "$: there is no number between exclusiveMinimum 3 and maximum 3"),
    ({"type": "integer", "minimum": 0.2, "maximum": 0.8}, "$: there is no integer between"),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, "$: there is no integer between"),
    ({"type": "number", "multipleOf": 7, "minimum": 1, "maximum": 6}, "$: there is no multiple between"),
    ({"multipleOf": 9999, "allOf": [{"multipleOf": 9998}]}, "$.multipleOf: with its other parts"),
    ({"type": "array", "items": False, "minItems": 1}, "$: minItems 1 is above the 0 elements"),
    ({"prefixItems": [True, False], "minItems": 2}, "$: minItems 2 is above the 1 elements"),
    ({"allOf": [{"minimum": 7}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"maximum": 3}}}, "$: there is no number"),
    ({"properties": {"a": {"items": {"minLength": 2, "maxLength": 1}}}}, "$.properties.a.items: minLength"),
    # Nothing is left.
    ({"type": []}, "$.type"),
    ({"allOf": [{"type": "integer"}, {"type": "string"}]}, "$.type: no type is allowed by all"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "$.required: the property 'a'"),
    ({"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"], "$defs": {"n": False}}, "$.required: the prop"),
    ({"type": "object", "additionalProperties": False, "required": ["z"]}, "$.required: the property 'z'"),
    ({"type": "integer", "enum": ["a", None]}, "$.enum: the rest of the schema allows no such value"),
    ({"const": 5, "maximum": 4}, "$.const: the rest"),
    ({"anyOf": [{"type": "integer"}], "type": "object"}, "$.anyOf: the rest of the schema excludes every branch"),
    ({"anyOf": [False]}, "$.anyOf"),
    # References.
    ({"$ref": "#/$defs/x"}, "$.$ref '#/$defs/x' points to nothing"),
    ({"$ref": "http://example.com/schema"}, "$.$ref 'http://example.com/schema' points out of the schema"),
    ({"$ref": "#"}, "$: its references go in a circle"),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "$: its references"),
    ({"anyOf": [{"type": "string"}, {"allOf": [{"$ref": "#"}]}]}, "$: its references go in a circle"),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "$.properties.a.$ref '#'"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "$.items.$ref '#': no value of it ever ends"),
    # Sizes.
    ({"properties": {"a": {"type": "array", "maxItems": 1_000_000_000}}}, "$.properties.a.maxItems"),
    ({"type": "string", "minLength": -1}, "$.minLength"),
    ({"type": "number", "maximum": 1e300}, "$.maximum"),
    ({"type": "integer", "minimum": 10**40}, "$.minimum"),
    ({"type": "integer", "multipleOf": 0}, "$.multipleOf"),
    ({"type": "number", "multipleOf": 0.1}, "$.multipleOf"),
    ({"enum": list(range(3_000))}, "2000"),
    ({"properties": {f"p{n}": {} for n in range(3_000)}}, "2000"),
    ({"const": 1e300}, "$.const"),
    ({"const": "\ud800"}, "$.const"),
    # What the engine does not enforce.
    ({"not": {}}, "$.not is not supported; supported are"),
    ({"patternProperties": {"a": {}}}, "$.patternProperties"),
    ({"items": {"uniqueItems": True}}, "$.items.uniqueItems"),
    ({"type": "string", "format": "phone"}, "$.format 'phone' is not supported; supported are date"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "$.oneOf: a value may conform to the branches 0 and 1"),
    ({"items": {"pattern": "(a{1000}){1000}"}}, "$.items.pattern"),
    ({"pattern": "(?=a)b"}, "$.pattern"),
    ({"pattern": r"(a)\1"}, "$.pattern"),
    ({"pattern": r"[^\d]"}, "$.pattern"),
    ({"pattern": "a++"}, "$.pattern"),
    ({"pattern": "["}, "$.pattern"),
    ({"pattern": "(a"}, "$.pattern"),
    ({"pattern": "a)"}, "$.pattern"),
    # What is not a schema.
    ({"type": "objekt"}, "$.type 'objekt'"),
    ({"required": "a"}, "$.required"),
    ({"anyOf": []}, "$.anyOf"),
    ({"properties": []}, "$.properties"),
    ({"items": 5}, "$.items"),
    ({"minimum": "1"}, "$.minimum"),
]
HELD: Sequence[tuple[dict[str, Any], Sequence[Any], Sequence[Any]]] = [
    ({"type": "number", "minimum": 0.5, "maximum": 0.75}, [0.5, 0.6], [0, 1, "0.6", True]),
    ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}, [5, 10.0], [3, 6, 5.5]),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "🦊🦊"], ["", "abc", 1]),
    ({"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29"]),
    ({"type": "array", "prefixItems": [{"const": 1}], "items": {"type": "null"}}, [[], [1, None]], [[None], [1, 1]]),
    ({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["z"]}, [{"z": 1}], [{}, {"z": 1, "a": 1}]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, [1, "a"], [None, 1.5]),
    ({"enum": [1, "a", None, [1, {"b": 2.0}]]}, [1.0, [1, {"b": 2}]], [True, "b"]),
    ({"type": "object", "properties": {"next": {"$ref": "#"}}}, [{}, {"next": {"next": {}}}], [{"next": 1}]),
    (
        {
            "type": "object",
            "properties": {"k": {"type": "integer"}},
            "anyOf": [{"required": ["k"]}, {"required": ["p"]}],
        },
        [{"k": 1}, {"p": 1}],
        [{}, {"k": "1"}],
    ),
]


@pytest.mark.parametrize(("schema", "problem"), REFUSED)
def test_a_schema_that_cannot_be_followed_is_refused_with_its_place(schema: Any, problem: str) -> None:
    """A contradiction, a circle, and what is not enforced are named, with the place."""
    with pytest.raises(BadSchema) as raised:
        constraint(json.dumps(schema))
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "text", ["{", "[]", "true", '{"minimum": NaN}', '{"a": ' * 100_000, '{"items":' * 70 + "{}" + "}" * 70]
)
def test_what_is_not_a_schema_is_refused(text: str) -> None:
    """Text that is not JSON, not an object, or nested without end is refused."""
    with pytest.raises(BadSchema):
        constraint(text)


@pytest.mark.parametrize(("schema", "valid", "invalid"), HELD)
def test_a_finished_answer_is_checked(schema: dict[str, Any], valid: Sequence[Any], invalid: Sequence[Any]) -> None:
    """What conforms is told from what does not."""
    held = constraint(json.dumps(schema))
    assert [held.violation(json.dumps(value)) for value in valid] == [None] * len(valid)
    assert all(held.violation(json.dumps(value)) for value in invalid)
    assert held.violation("not JSON")
    for value in valid:
        check(schema, value)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 9} for n in range(60)} | {"d60": {}},
            "$ref": "#/$defs/d0",
        },
        {
            "$defs": {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 9} for n in range(60)} | {"d60": {}},
            "$ref": "#/$defs/d0",
            "const": 1,
        },
        {
            "$defs": {
                f"d{n}": {"properties": {"a": {"$ref": f"#/$defs/d{n - 1}"}}, "required": ["a"]} for n in range(1, 190)
            }
            | {"d0": {}},
            "$ref": "#/$defs/d189",
        },
        {"oneOf": [{"type": "object", "properties": {"t": {"const": n}}, "required": ["t"]} for n in range(100)]},
    ],
    ids=["allOf", "anyOf", "required", "oneOf"],
)
def test_a_large_schema_is_little_work(schema: dict[str, Any]) -> None:
    """Parts that multiply when they are written out do not keep the server from its other work: some 250,000 calls of
    functions take a tenth of a second."""
    events = Counter[str]()

    def count(_frame: object, event: str, _argument: object) -> None:
        events[event] += 1

    sys.setprofile(count)
    try:
        with contextlib.suppress(BadSchema):
            constraint(json.dumps(schema))
    finally:
        sys.setprofile(None)
    assert 1000 < events["call"] < 500_000


def test_objects_get_no_properties_of_the_models_own() -> None:
    """A model that may add properties often adds them without end."""
    grammar = constraint('{"type": "object", "properties": {"a": {}}, "required": ["b"]}').grammar
    assert '"additionalProperties":false' in grammar
    assert '"b":true' in grammar
    combined: dict[str, Any] = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}
    assert "additionalProperties" not in Constraint(combined).grammar


def test_the_page_lists_the_options_and_keywords() -> None:
    """What the documentation promises is what is checked."""
    page = (Path(__file__).parents[2] / "docs" / "providers" / "llama_cpp.md").read_text()
    for name in (*OPTIONS, *SUPPORTED, *FORMATS):
        assert f"`{name}`" in page or f"#/{name}/" in page, name


def request(schema: Any, *, form: str = "prompt", tokens: int = 60, **config: Any) -> GenerateRequest:
    """A call whose answer is held to a schema."""
    config = {"temperature": 1.5, "max_output_tokens": tokens, **config}
    held = GenerationConfig(response_format=ResponseFormat.JSON_SCHEMA, json_schema=json.dumps(schema), **config)
    if form == "prompt":
        return GenerateRequest(model=MODEL, prompt="JSON:", config=held)
    return GenerateRequest(model=MODEL, messages=(Message(role=Role.USER, parts=(Text(text="JSON?"),)),), config=held)


async def outcome(provider: LlamaCppProvider, request_: GenerateRequest) -> tuple[str, FinishReason]:
    """The text of an answer, and why it ended."""
    events = await events_of(provider, request_)
    assert isinstance(events[-1], Finish)
    return text_of(events), events[-1].reason


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("form", ["chat", "prompt"])
async def test_chats_and_completions_are_held_alike(provider: LlamaCppProvider, form: str) -> None:
    """Both conform to a schema whose parts are combined."""
    schema = {
        "type": "object",
        "properties": {"k": {"type": "integer", "minimum": 3, "maximum": 5}},
        "required": ["k"],
        "anyOf": [
            {"properties": {"p": {"type": "boolean"}}, "required": ["p"]},
            {"properties": {"q": {"type": "null"}}, "required": ["q"]},
        ],
    }
    text, reason = await outcome(provider, request(schema, form=form, tokens=200, temperature=0.0))
    assert reason is FinishReason.STOP
    value = json.loads(text)
    assert value["k"] in (3, 4, 5)
    assert isinstance(value.get("p"), bool) or value.get("q", 1) is None


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("form", ["chat", "prompt"])
async def test_what_only_the_engine_sees_is_refused(provider: LlamaCppProvider, form: str) -> None:
    """A contradiction between branches is found by the engine, which would otherwise let the model write anything."""
    schema = {"allOf": [{"anyOf": [{"maxLength": 2}, {"maxLength": 3}]}, {"minLength": 5}], "type": "string"}
    for _ in range(2):
        with pytest.raises(UnsupportedByModel, match="no value conforms to all of its parts"):
            await events_of(provider, request(schema, form=form))


@pytest.mark.asyncio(loop_scope="session")
async def test_an_answer_that_does_not_conform_is_no_success(provider: LlamaCppProvider) -> None:
    """A stop sequence that ends the answer in its middle is an error; so is an answer that may not end."""
    schema = {"const": "abcdefgh"}
    with pytest.raises(UnsupportedByModel, match="does not conform"):
        await events_of(provider, request(schema, stop=("d",)))
    ignoring = request(schema)
    with pytest.raises(InvalidArgument, match="ignore_eos"):
        await events_of(
            provider,
            GenerateRequest(model=MODEL, prompt="x", config=ignoring.config, provider_options={"ignore_eos": True}),
        )


def schema_of(random_: random.Random, depth: int = 3) -> Any:
    """A schema of the supported keywords; not each allows a value."""

    def some(**keywords: Any) -> dict[str, Any]:
        return {key: make() for key, make in keywords.items() if random_.random() < 0.4}

    def inner() -> Any:
        return schema_of(random_, depth - 1)

    def number() -> float:
        return random_.choice([random_.randint(-300, 300), round(random_.uniform(-9, 9), 3), 0, 100_000, -0.001])

    def name() -> str:
        return random_.choice("abc")

    def names() -> list[str]:
        return random_.sample("abcz", random_.randint(0, 3))

    makers: list[Callable[[], Any]] = [
        lambda: {"type": "integer", **some(minimum=number, maximum=number, multipleOf=lambda: random_.randint(1, 40))},
        lambda: {"type": "number", **some(exclusiveMinimum=number, exclusiveMaximum=number, minimum=number)},
        lambda: {
            "type": "string",
            **some(minLength=lambda: random_.randint(0, 3), maxLength=lambda: random_.randint(0, 5)),
        },
        lambda: {
            "type": "string",
            "pattern": random_.choice(["^a+$", r"^\d{2,4}-\w$", "^(?:x|yz)*$", "[^a-z]", r"\S\s"]),
        },
        lambda: {"type": "string", "format": random_.choice(["date", "time", "ipv4", "ipv6", "uuid", "email"])},
        lambda: {"enum": random_.sample([1, 2.5, "é\n", None, True, [1], {"a": None}], 2)},
        lambda: {"$ref": random_.choice(["#", "#/$defs/x"])},
        lambda: random_.choice([True, False, {}, {"type": ["integer", "string", "null"], "minimum": 5}]),
    ]
    if depth > 0:
        makers += [
            lambda: {
                "type": "object",
                "properties": {name(): inner() for _ in range(3)},
                **some(required=names, additionalProperties=inner, anyOf=lambda: [inner(), inner()]),
            },
            lambda: {
                "type": "array",
                "items": inner(),
                **some(minItems=lambda: 1, maxItems=lambda: random_.randint(0, 3)),
            },
            lambda: {"type": "array", "prefixItems": [inner()], **some(items=inner)},
            lambda: {random_.choice(["anyOf", "oneOf", "allOf"]): [inner(), inner()]},
            lambda: {"allOf": [inner()], "anyOf": [inner(), inner()]},
        ]
    return random_.choice(makers)()


def check(schema: Any, value: Any) -> None:
    """Have jsonschema judge a value."""
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


@pytest.mark.asyncio(loop_scope="session")
async def test_successes_conform_to_their_schemas(provider: LlamaCppProvider) -> None:
    """Many schemas are refused, or what ends with STOP is valid: by the provider's check, and by jsonschema."""
    random_ = random.Random(13)  # noqa: S311  # no secret
    accepted: list[Any] = []
    while len(accepted) < 40:
        schema = schema_of(random_)
        if isinstance(schema, dict):
            schema = {**schema, "$defs": {"x": schema_of(random_, 1)}}
            try:
                constraint(json.dumps(schema))
            except BadSchema:
                continue
            accepted.append(schema)

    async def ask(seed: int, schema: Any) -> str:
        try:
            text, reason = await outcome(provider, request(schema, tokens=40, seed=seed))
        except UnsupportedByModel as refused:
            assert "does not conform" not in refused.message, (schema, refused.message)
            return "refused"
        if reason is FinishReason.STOP:
            check(schema, json.loads(text))
        return reason

    outcomes = await asyncio.gather(*[ask(seed, schema) for seed, schema in enumerate(accepted)])
    assert outcomes.count(FinishReason.STOP) > 10
