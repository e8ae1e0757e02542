"""The grammar that holds an answer to a JSON Schema, and the check of the finished answer.

Chats and completions use one engine, llguidance. llama.cpp answers without any constraint when that engine does not
accept a schema, and says so in its log only. Therefore a schema is checked before llama.cpp sees it, the engine is
asked once whether it accepts it (:attr:`Constraint.probe`), and the finished answer is checked once more.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from mcp_server.providers.json_schema import contradictions, syntax
from mcp_server.providers.json_schema.parts import ANNOTATIONS, nodes, resolve
from mcp_server.providers.json_schema.values import Validator

COMPACT: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Keeps a small model from writing blank lines without end, which the syntax of JSON allows."""
JSON_OBJECT: Final = {"type": "object"}
"""The schema of any JSON object."""
PROBE: Final = "\x01"
"""What an answer under the grammar of the probe begins with; a model writes it only when it must."""

_ANNOTATED: Final = ANNOTATIONS | {"$defs", "definitions"}
_OBJECT: Final = frozenset(("type", "properties", "required"))
_COMBINED: Final = ("allOf", "anyOf", "oneOf", "$ref")


class BadSchema(Exception):
    """A schema cannot be followed; the message says why, with the place."""


class Constraint:
    """What an answer is held to.

    Args:
        schema: a JSON Schema without problems of syntax or contradictions.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._text = msgspec.json.encode({**_for_engine(schema), "x-guidance": COMPACT}).decode()

    @property
    def grammar(self) -> str:
        """The grammar of the answer."""
        return f"%llguidance {{}}\nstart: %json {self._text}"

    @property
    def probe(self) -> str:
        """A grammar that the engine accepts when it accepts :attr:`grammar`; its text begins with :data:`PROBE`."""
        return f'%llguidance {{}}\nstart: "{json.dumps(PROBE)[1:-1]}" answer\nanswer: %json {self._text}'

    def violation(self, text: str) -> str | None:
        """What is wrong with the whole text of an answer; ``None`` if it conforms to the schema."""
        try:
            conforms = Validator(self._schema).conforms(json.loads(text))
        except RecursionError:
            return "it is nested too deeply to be checked"
        except ValueError:
            return "it is not JSON"
        return None if conforms else "it breaks the schema"


def constraint(text: str) -> Constraint:
    """What an answer to a call with this JSON Schema is held to.

    Raises:
        BadSchema: it is not JSON, contradicts itself, or uses what is not supported.
    """
    try:
        schema = json.loads(text, parse_constant=_no_constant)
        problem = next(syntax.problems(schema), None) or next(contradictions.problems(schema), None)
    except ValueError as error:
        raise BadSchema(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise BadSchema("it is nested too deeply") from error
    if problem is not None:
        raise BadSchema(problem)
    return Constraint(schema)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _for_engine(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without annotations, its references by plain names, and its objects closed where that is allowed.

    A model that may add properties of its own often adds them without end. So objects that say nothing of additional
    properties get none, unless parts of the schema are combined: there, a closed part would forbid what another needs.
    """
    rewrite = _Rewrite(schema)
    engine: dict[str, Any] = rewrite.of(schema)
    definitions: dict[str, Any] = {}
    while len(definitions) < len(rewrite.names):
        for reference, name in list(rewrite.names.items()):
            if name not in definitions:
                definitions[name] = rewrite.of(resolve(schema, reference))
    return {**engine, "$defs": definitions} if definitions else engine


class _Rewrite:
    def __init__(self, root: dict[str, Any]) -> None:
        self.names: dict[str, str] = {}
        self._close = not any(_combines(_distributed(node)) for _, node in nodes(root))

    def of(self, schema: Any) -> Any:
        if isinstance(schema, bool):
            return schema
        result: dict[str, Any] = {}
        for key, value in _distributed(schema).items():
            if key in _ANNOTATED:
                continue
            if key == "$ref":
                value = f"#/$defs/{self.names.setdefault(value, str(len(self.names)))}"
            elif key == "properties":
                value = {name: self.of(inner) for name, inner in value.items()}
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
                value = [self.of(inner) for inner in value]
            elif key in ("items", "additionalProperties"):
                value = self.of(value)
            result[key] = value
        if self._close and "properties" in result and "additionalProperties" not in result:
            required = {name: True for name in result.get("required", ()) if name not in result["properties"]}
            result["properties"] = {**result["properties"], **required}
            result["additionalProperties"] = False
        return result


def _distributed(schema: dict[str, Any]) -> dict[str, Any]:
    """An object with ``anyOf`` beside its properties as a choice between whole objects: those can be closed."""
    branches = schema.get("anyOf", ())
    names = schema.get("properties", {}).keys()
    if not branches or schema.get("type") != "object" or schema.keys() - _ANNOTATED - {*_OBJECT, "anyOf"}:
        return schema
    for branch in branches:
        if branch is True or branch is False or branch.keys() - ANNOTATIONS - _OBJECT:
            return schema
        if branch.get("type", "object") != "object" or names & branch.get("properties", {}).keys():
            return schema
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {**schema.get("properties", {}), **branch.get("properties", {})},
                "required": list(dict.fromkeys([*schema.get("required", ()), *branch.get("required", ())])),
            }
            for branch in branches
        ]
    }


def _combines(schema: dict[str, Any]) -> bool:
    """Whether several parts of a schema speak of one object."""
    keys = schema.keys() - _ANNOTATED
    return "allOf" in keys or "oneOf" in keys or (len(keys) > 1 and any(key in keys for key in _COMBINED))
