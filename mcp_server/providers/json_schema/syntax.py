"""Which JSON Schemas are supported: by keywords, their values, and the size of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from mcp_server.providers.json_schema import patterns
from mcp_server.providers.json_schema.parts import ANNOTATIONS, LISTS, MAPS, SCHEMAS, inner, resolve

MAX_DEPTH: Final = 64
MAX_SCHEMAS: Final = 2_000
"""The most subschemas, and values of ``enum``, of one schema."""
MAX_BOUND: Final = 10_000
"""The largest number of elements or characters."""
MAX_NUMBER: Final = 10**15
"""The largest bound of a number: up to it, 64-bit floating point has a digit behind the point."""
MAX_REFERENCES: Final = 200
"""The most different references of one schema."""
MIN_NUMBER: Final = 1e-9
"""The smallest bound of a number besides 0."""
TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
FORMATS: Final = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid")

_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength")
_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OTHERS: Final = ("type", "required", "enum", "const", "$ref", "pattern", "format")
SUPPORTED: Final = (*SCHEMAS, *LISTS, *MAPS, *_COUNTS, *_NUMBERS, *_OTHERS)


def problems(root: Any) -> Iterator[str]:
    """What is not supported, and where. After the first problem the rest is not to be relied on."""
    if not isinstance(root, dict):
        yield "$ is not a JSON object"
        return
    waiting: list[tuple[str, Any, int]] = [("$", root, 0)]
    seen = 0
    references: set[str] = set()
    while waiting:
        where, schema, depth = waiting.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            yield f"{where} is not a JSON object"
            return
        enumerated = schema.get("enum", ())
        seen += 1 + (len(enumerated) if isinstance(enumerated, list) else 0)
        if depth > MAX_DEPTH:
            yield f"{where} is nested deeper than {MAX_DEPTH} levels"
            return
        if seen > MAX_SCHEMAS:
            yield f"{where}: there are more than {MAX_SCHEMAS} subschemas and values of enum"
            return
        yield from _keywords(schema, where, root)
        references.update([schema["$ref"]] if "$ref" in schema else ())
        if len(references) > MAX_REFERENCES:
            yield f"{where}.$ref: there are more than {MAX_REFERENCES} different references"
            return
        waiting += [(place, part, depth + 1) for place, part in reversed(list(inner(schema, where)))]


def _keywords(schema: dict[str, Any], where: str, root: dict[str, Any]) -> Iterator[str]:
    for key, value in schema.items():
        if key in ANNOTATIONS:
            if key == "$id" and schema is not root:
                yield f"{where}.$id is supported at the top only"
        elif key not in SUPPORTED:
            yield f"{where}.{key} is not supported; supported are {', '.join(sorted(SUPPORTED))}"
        elif (problem := _value(key, value, root)) is not None:
            yield f"{where}.{key} {problem}"


def _value(key: str, value: Any, root: dict[str, Any]) -> str | None:
    """What is wrong with the value of a keyword."""
    if key in LISTS:
        return None if isinstance(value, list) and value else "is not a list of at least one schema"
    if key in MAPS:
        return None if isinstance(value, dict) else "is not a JSON object of schemas"
    if key in _COUNTS:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return None if whole and 0 <= value <= MAX_BOUND else f"{_short(value)} is not a number from 0 to {MAX_BOUND}"
    if key in _NUMBERS:
        return _number(key, value)
    if key == "type":
        names = value if isinstance(value, list) else [value]
        wrong = [name for name in names if name not in TYPES] if names else [value]
        return f"{_short(wrong[0])} is none of {', '.join(TYPES)}" if wrong else None
    if key == "required":
        strings = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return None if strings else "is not a list of names"
    if key == "enum" and not (isinstance(value, list) and value):
        return "is not a list of at least one value"
    if key in ("enum", "const"):
        return _constant(value, 0)
    if key == "$ref":
        return _reference(value, root)
    if key == "pattern":
        return patterns.problem(value) if isinstance(value, str) else "is not a string"
    if key == "format" and value not in FORMATS:
        return f"{_short(value)} is not supported; supported are {', '.join(FORMATS)}"
    return None


def _number(key: str, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{_short(value)} is not a number"
    if key == "multipleOf" and not (isinstance(value, int) and 1 <= value <= MAX_BOUND):
        # Validators disagree on multiples of a fraction: whether 0.3 is one of 0.1, for example.
        return f"{_short(value)} is not a whole number from 1 to {MAX_BOUND}"
    if value != 0 and not MIN_NUMBER <= abs(value) <= MAX_NUMBER:
        return f"{_short(value)} is too large or too small; supported are 0 and sizes from 1e-9 to 1e15"
    return None


def _constant(value: Any, depth: int) -> str | None:
    """What is wrong with a value that an answer may be."""
    if depth > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= 2**53):
        return f"{_short(value)} is not a number that JSON readers agree on; supported are sizes up to 2**53"
    if isinstance(value, str):
        return None if value.isprintable() or _encodable(value) else "has a lone surrogate"
    parts = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else []
    return next((problem for part in parts if (problem := _constant(part, depth + 1)) is not None), None)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reference(value: Any, root: dict[str, Any]) -> str | None:
    if not isinstance(value, str) or not value.startswith("#"):
        return f"{_short(value)} points out of the schema; write it as '#/$defs/name'"
    try:
        resolve(root, value)
    except (KeyError, TypeError):
        return f"{_short(value)} points to nothing; supported are '#', '#/$defs/name' and '#/definitions/name'"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
