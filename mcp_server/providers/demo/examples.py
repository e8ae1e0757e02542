"""Values that conform to a JSON Schema, made of what the caller has written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Final

from mcp_server.providers.demo.hints import MISSING, Hints
from mcp_server.providers.demo.matching import NoMatch, matching
from mcp_server.providers.json_schema.constraint import BadSchema, constraint
from mcp_server.providers.json_schema.parts import conjuncts
from mcp_server.providers.json_schema.values import Validator, type_of

FULL_DEPTH: Final = 4
"""Down to it, optional properties and one element of each array are made."""
MOST_VALUES: Final = 10_000
"""The most values that are tried for one schema."""
FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "hostname": "demo.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
"""A value of each format."""

_KINDS: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "integer",
}
"""The type of a schema without one, by its keywords."""


class NoExample(Exception):
    """No value was found that conforms to the schema; the message says why."""


def example(schema_text: str, schema: dict[str, Any], hints: Hints) -> Any:
    """A value that conforms to a schema.

    Args:
        schema_text: the schema as JSON text.
        schema: the same.
        hints: what the value should be made of.

    Raises:
        NoExample: the schema is not supported, or no value was found.
    """
    try:
        constraint(schema_text)
        return _Examples(schema, hints).value(schema, "")
    except BadSchema as error:
        raise NoExample(str(error)) from error
    except RecursionError as error:
        raise NoExample("it is nested too deeply") from error


class _StrictValidator(Validator):
    """Of strings with a pattern or a format, only those that were made for it conform: no pattern is ever matched,
    since that can take very long."""

    def __init__(self, root: dict[str, Any]) -> None:
        super().__init__(root)
        self.matching: set[tuple[str, str]] = set()
        """Patterns, each with a text that was made to match it."""

    def _conforms(self, value: Any, schema: dict[str, Any]) -> bool:
        if isinstance(value, str):
            if "pattern" in schema and (schema["pattern"], value) not in self.matching:
                return False
            if "format" in schema and value != FORMATS[schema["format"]]:
                return False
        return super()._conforms(value, schema)


class _Examples:
    def __init__(self, root: dict[str, Any], hints: Hints) -> None:
        self._root = root
        self._hints = hints
        self._validator = _StrictValidator(root)
        self._left = MOST_VALUES

    def value(self, schema: Any, name: str, depth: int = 0) -> Any:
        """The first candidate that conforms."""
        for candidate in self._candidates(schema, name, depth):
            self._left -= 1
            if self._left < 0:
                break
            if self._validator.conforms(candidate, schema):
                return candidate
        raise NoExample(f"no value for {name or 'the whole'} was found")

    def _candidates(self, schema: Any, name: str, depth: int) -> Iterator[Any]:
        if not isinstance(schema, dict):
            yield f"demo {name}".strip()
            return
        parts = [part for part in conjuncts(self._root, schema) if isinstance(part, dict)]
        whole = _joined(parts)
        if "pattern" not in whole and (named := self._hints.named(name)) is not MISSING:
            yield named
        if "enum" in whole:
            chosen = self._hints.choice(whole["enum"])
            yield from ([] if chosen is MISSING else [chosen])
            yield from whole["enum"]
        yield from [part["const"] for part in parts if "const" in part]
        branches = [*whole.get("anyOf", ()), *whole.get("oneOf", ())]
        if branches:
            base = {key: value for key, value in whole.items() if key not in ("anyOf", "oneOf")}
            if depth > FULL_DEPTH:
                branches = sorted(branches, key=_size)
            for branch in branches:
                yield from self._candidates({"allOf": [base, branch]}, name, depth + 1)
            return
        types = whole.get("type") or next((_KINDS[key] for key in whole if key in _KINDS), "string")
        for kind in types if isinstance(types, list) else [types]:
            yield from self._of_type(kind, whole, name, depth)

    def _of_type(self, kind: str, schema: dict[str, Any], name: str, depth: int) -> Iterator[Any]:
        if kind == "object":
            with contextlib.suppress(NoExample):  # another branch may have one
                yield self._object(schema, depth)
        elif kind == "array":
            for length in dict.fromkeys([self._length(schema, depth), schema.get("minItems", 0)]):
                with contextlib.suppress(NoExample):
                    yield self._array(schema, name, depth, length)
        elif kind == "string":
            yield from self._strings(schema, name)
        elif kind in ("integer", "number"):
            yield from self._numbers(schema)
        else:
            yield from (None,) if kind == "null" else (True, False)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        made: dict[str, Any] = {}
        for name in [*properties, *[name for name in required if name not in properties]]:
            try:
                if name in required or depth < FULL_DEPTH:
                    made[name] = self.value(properties.get(name, rest), name, depth + 1)
            except NoExample:
                if name in required:
                    raise
        return made

    def _length(self, schema: dict[str, Any], depth: int) -> int:
        """How many elements an array should have."""
        least, first = schema.get("minItems", 0), schema.get("prefixItems", ())
        if depth >= FULL_DEPTH:
            return int(least)
        return int(max(least, min(len(first) or 1, schema.get("maxItems", len(first) or 1))))

    def _array(self, schema: dict[str, Any], name: str, depth: int, length: int) -> list[Any]:
        first = schema.get("prefixItems", ())
        items = [*first[:length], *[schema.get("items", True)] * (length - len(first))]
        return [self.value(item, name, depth + 1) for item in items]

    def _strings(self, schema: dict[str, Any], name: str) -> Iterator[str]:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        if "pattern" in schema:
            try:
                text = matching(schema["pattern"], least)
            except NoMatch:  # another branch may have a value
                return
            self._validator.matching.add((schema["pattern"], text))
            yield text
            return
        if "format" in schema:
            yield FORMATS[schema["format"]]
            return
        hint = self._hints.text(name)
        if hint is not MISSING:
            if least <= len(hint) <= most:
                yield hint
            else:
                self._hints.put_back(hint)
        text = f"demo {name}".strip()
        yield (text + "." * (least - len(text)))[:most]

    def _numbers(self, schema: dict[str, Any]) -> Iterator[float]:
        hint = self._hints.number()
        if hint is not MISSING:
            if self._validator.conforms(hint, schema):
                yield hint
            else:
                self._hints.put_back(hint)
        yield from (1, 0)
        step = schema.get("multipleOf", 1)
        low = max([schema[key] for key in ("minimum", "exclusiveMinimum") if key in schema], default=None)
        high = min([schema[key] for key in ("maximum", "exclusiveMaximum") if key in schema], default=None)
        if low is not None:
            least = math.ceil(low / step) * step
            yield from (least, least + step, low)
        if high is not None:
            most = math.floor(high / step) * step
            yield from (most, most - step, high)
        if low is not None and high is not None:
            yield (low + high) / 2


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema for all that a value must conform to at once."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                known = whole.get(key, {})
                both = {name: {"allOf": [known[name], each]} if name in known else each for name, each in value.items()}
                whole[key] = {**known, **both}
            elif key == "required":
                whole[key] = [*dict.fromkeys([*whole.get(key, ()), *value])]
            elif key.startswith(("min", "exclusiveMin")):
                whole[key] = max(whole.get(key, value), value)
            elif key.startswith(("max", "exclusiveMax")):
                whole[key] = min(whole.get(key, value), value)
            elif key == "enum":
                whole[key] = [each for each in value if each in whole.get(key, value)]
            elif key == "type":
                kinds, known_kinds = _list(value), _list(whole.get(key, value))
                whole[key] = [kind for kind in kinds if kind in known_kinds] or kinds
            elif key not in ("allOf", "$ref", "$defs", "definitions"):
                whole.setdefault(key, value)
    return whole


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _size(schema: Any) -> int:
    """How much a value of a branch may have in it: what is simple is tried first."""
    kind = schema.get("type", "") if isinstance(schema, dict) else type_of(schema)
    return 0 if kind == "null" else 1 if kind in ("string", "integer", "number", "boolean") else 2
