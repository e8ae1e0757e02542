"""Which JSON Schemas llama.cpp can hold an answer to.

What it does not understand it leaves aside without a word, and a large bound takes all memory there is. So a schema is
looked over before llama.cpp sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

MAX_DEPTH: Final = 64
MAX_BOUND: Final = 10_000
"""The largest number of elements, properties or characters that a schema may speak of."""

_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_SCHEMAS: Final = ("additionalProperties", "items")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "definitions")
_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength")
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OTHERS: Final = ("type", "required", "enum", "const", "$ref")
_NOTES: Final = ("$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated")
_KNOWN: Final = frozenset((*_SCHEMAS, *_LISTS, *_MAPS, *_COUNTS, *_NUMBERS, *_OTHERS, *_NOTES))


def problem(schema: Any) -> str | None:
    """What makes ``schema`` unusable and where, or ``None``."""
    return next(_problems(schema, "$", 0), None)


def _problems(schema: Any, where: str, depth: int) -> Iterator[str]:
    if isinstance(schema, bool) and depth:
        return
    if not isinstance(schema, dict):
        yield f"{where} is no JSON object"
        return
    if depth > MAX_DEPTH:
        yield f"{where} is nested deeper than {MAX_DEPTH} levels"
        return
    if unknown := sorted(schema.keys() - _KNOWN):
        yield f"{where}.{unknown[0]} is not supported; supported are {', '.join(sorted(_KNOWN - set(_NOTES)))}"
    types = schema.get("type", [])
    for name in types if isinstance(types, list) else [types]:
        if name not in _TYPES:
            yield f"{where}.type {name!r} is none of {', '.join(_TYPES)}"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield f"{where}.required is no list of names"
    if not isinstance(schema.get("enum", [0]), list) or schema.get("enum") == []:
        yield f"{where}.enum is no list of values"
    reference = schema.get("$ref", "#")
    if not isinstance(reference, str) or not reference.startswith("#"):
        yield f"{where}.$ref {reference!r} points out of the schema; write it as '#/$defs/name'"
    for key in _COUNTS:
        count = schema.get(key, 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_BOUND:
            yield f"{where}.{key} {count!r} is no number from 0 to {MAX_BOUND}"
    for key in _NUMBERS:
        number = schema.get(key, 0)
        if isinstance(number, bool) or not isinstance(number, int | float):
            yield f"{where}.{key} {number!r} is no number"
    yield from _inner(schema, where, depth)


def _inner(schema: dict[str, Any], where: str, depth: int) -> Iterator[str]:
    for key in _SCHEMAS:
        if key in schema:
            yield from _problems(schema[key], f"{where}.{key}", depth + 1)
    for key in _LISTS:
        inner = schema.get(key, [])
        if not isinstance(inner, list):
            yield f"{where}.{key} is no list of schemas"
            continue
        for index, item in enumerate(inner):
            yield from _problems(item, f"{where}.{key}[{index}]", depth + 1)
    for key in _MAPS:
        named = schema.get(key, {})
        if not isinstance(named, dict):
            yield f"{where}.{key} is no JSON object of schemas"
            continue
        for name, item in named.items():
            yield from _problems(item, f"{where}.{key}.{name}", depth + 1)
