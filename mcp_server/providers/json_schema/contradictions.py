"""Whether a JSON Schema allows any value: contradictions within it, and references that go in a circle.

Read only after :mod:`~mcp_server.providers.json_schema.syntax` has found no problem. What is not seen here
(two branches deep in ``anyOf`` that exclude each other) is found by the engine, which then names no place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from mcp_server.providers.json_schema.parts import conjuncts, nodes, resolve
from mcp_server.providers.json_schema.syntax import MAX_BOUND, TYPES
from mcp_server.providers.json_schema.values import Validator

MAX_COMBINED: Final = 100
"""The most schemas that one value must conform to at once."""

_TYPES = frozenset(TYPES)
_PAIRS = (("minItems", "maxItems"), ("minLength", "maxLength"))


def problems(root: dict[str, Any]) -> Iterator[str]:
    """What makes the schema one that no value conforms to, and where."""
    yield from _circles(root)
    validator = Validator(root)
    for where, schema in nodes(root):
        together = [part for part in conjuncts(root, schema) if isinstance(part, dict)]
        if len(together) > MAX_COMBINED:
            yield f"{where}: allOf and $ref combine more than {MAX_COMBINED} schemas"
        yield from _bounds(together, where)
        yield from _properties(root, together, where)
        yield from _items(together, where)
        yield from _values(root, validator, schema, together, where)
        yield from _choices(root, validator, schema, where)
    yield from _endless(root)


def _circles(root: dict[str, Any]) -> Iterator[str]:
    """References that lead back to themselves before any property or element is entered."""
    done: set[int] = set()
    for where, start in nodes(root):
        path: list[int] = []
        waiting: list[Any] = [start]
        while waiting:
            part = waiting.pop()
            if part is None:
                done.add(path.pop())
                continue
            if not isinstance(part, dict) or id(part) in done:
                continue
            if id(part) in path:
                yield f"{where}: its references go in a circle"
                return
            path.append(id(part))
            waiting.append(None)
            for key in ("allOf", "anyOf", "oneOf"):
                waiting += part.get(key, ())
            if "$ref" in part:
                waiting.append(resolve(root, part["$ref"]))


def _bounds(together: list[dict[str, Any]], where: str) -> Iterator[str]:
    if not _types(together):
        yield f"{where}.type: no type is allowed by all of its parts"
    for low, high in _PAIRS:
        least = max([part.get(low, 0) for part in together])
        most = min([part.get(high, MAX_BOUND) for part in together])
        if least > most:
            yield f"{where}: {low} {least} is above {high} {most}"
    lows = [(part[key], key) for part in together for key in ("minimum", "exclusiveMinimum") if key in part]
    highs = [(-part[key], key) for part in together for key in ("maximum", "exclusiveMaximum") if key in part]
    steps = [part["multipleOf"] for part in together if "multipleOf" in part]
    step = math.lcm(*steps)
    if step > MAX_BOUND:
        yield f"{where}.multipleOf: with its other parts, only multiples of {step} are left; {MAX_BOUND} is the largest"
    if lows and highs:
        # Of equal bounds the exclusive one counts; its name is the lower one.
        low, low_key = max(lows, key=lambda bound: (bound[0], bound[1] == "exclusiveMinimum"))
        high, high_key = max(highs, key=lambda bound: (bound[0], bound[1] == "exclusiveMaximum"))
        open_ = low_key != "minimum" or high_key != "maximum"
        if low > -high or (low == -high and open_):
            yield f"{where}: there is no number between {low_key} {low} and {high_key} {-high}"
            return
        if steps or _types(together) & {"integer", "number"} == {"integer"}:
            first = math.ceil(Fraction(low) / step)
            first += first * step == low and low_key != "minimum"
            last = math.floor(Fraction(-high) / step)
            last -= last * step == -high and high_key != "maximum"
            if first > last:
                what = "multiple" if steps else "integer"
                yield f"{where}: there is no {what} between {low_key} {low} and {high_key} {-high}"


def _types(together: list[dict[str, Any]]) -> frozenset[str]:
    """The types that all of the schemas allow; ``number`` stands for a number with a fraction."""
    allowed = _TYPES
    for part in together:
        if "type" in part:
            names = part["type"] if isinstance(part["type"], list) else [part["type"]]
            allowed &= frozenset([*names, "integer"] if "number" in names else names)
    return allowed


def _properties(root: dict[str, Any], together: list[dict[str, Any]], where: str) -> Iterator[str]:
    if "object" not in _types(together):
        return
    for name in dict.fromkeys([name for part in together for name in part.get("required", ())]):
        if _impossible(root, [_property(part, name) for part in together]):
            yield f"{where}.required: the property {name!r} is required, and the schema allows no value for it"


def _items(together: list[dict[str, Any]], where: str) -> Iterator[str]:
    least = max([part.get("minItems", 0) for part in together])
    for part in together:
        first = part.get("prefixItems", [])
        room = first.index(False) if False in first else len(first) if part.get("items") is False else None
        if room is not None and least > room:
            yield f"{where}: minItems {least} is above the {room} elements that prefixItems and items allow"


def _property(schema: dict[str, Any], name: str) -> Any:
    """What a schema demands of the property of that name."""
    properties = schema.get("properties", {})
    return properties[name] if name in properties else schema.get("additionalProperties", True)


def _impossible(root: dict[str, Any], schemas: list[Any]) -> bool:
    return any(part is False for schema in schemas for part in conjuncts(root, schema))


def _values(
    root: dict[str, Any], validator: Validator, schema: dict[str, Any], together: list[dict[str, Any]], where: str
) -> Iterator[str]:
    """Constants and branches that the rest of the schema excludes."""
    for part in together:
        for key in ("enum", "const"):
            values = [] if key not in part else part["enum"] if key == "enum" else [part["const"]]
            if values and not any(validator.conforms(value, schema) for value in values):
                yield f"{where}.{key}: the rest of the schema allows no such value"
        for key in ("anyOf", "oneOf"):
            branches = [_parts(root, branch) for branch in part.get(key, ())]
            if branches and not any(parts is not None and _types(together + parts) for parts in branches):
                yield f"{where}.{key}: the rest of the schema excludes every branch"


def _choices(root: dict[str, Any], validator: Validator, schema: dict[str, Any], where: str) -> Iterator[str]:
    """Branches of ``oneOf`` that one value may conform to: no engine can hold an answer to exactly one of them."""
    branches = schema.get("oneOf", ())
    if len(branches) > 100:
        yield f"{where}.oneOf has more than 100 branches; write it as anyOf"
        return
    apart = _Apart(root, validator)
    for index, one in enumerate(branches):
        for other in range(index + 1, len(branches)):
            if not apart(one, branches[other]):
                yield (
                    f"{where}.oneOf: a value may conform to the branches {index} and {other}; write it as anyOf, or "
                    "give each branch a type, a const or a required property with a const of its own"
                )
                return


class _Apart:
    """Whether no value conforms to both of two schemas, as far as their types, constants and properties tell."""

    def __init__(self, root: dict[str, Any], validator: Validator) -> None:
        self._root = root
        self._validator = validator

    def __call__(self, one: Any, other: Any, depth: int = 0) -> bool:
        ones, others = [_parts(self._root, schema) for schema in (one, other)]
        if ones is None or others is None:
            return True
        types, other_types = _types(ones), _types(others)
        if not types & other_types:
            return True
        for parts, schema in ((ones, other), (others, one)):
            for part in parts:
                values = part.get("enum", [part["const"]] if "const" in part else None)
                if values is not None and not any(self._validator.conforms(value, schema) for value in values):
                    return True
        if depth > 3 or types & other_types != {"object"}:
            return False
        required = [{name for part in parts for name in part.get("required", ())} for parts in (ones, others)]
        return any(
            self(
                {"allOf": [_property(part, name) for part in ones]},
                {"allOf": [_property(p, name) for p in others]},
                depth + 1,
            )
            for name in sorted(required[0] & required[1])
        )


def _parts(root: dict[str, Any], schema: Any) -> list[dict[str, Any]] | None:
    """The schemas that a value of ``schema`` must conform to; ``None`` if there is no such value."""
    parts = conjuncts(root, schema)
    return None if any(part is False for part in parts) else [part for part in parts if isinstance(part, dict)]


def _endless(root: dict[str, Any]) -> Iterator[str]:
    """References that each need another one: no value of them ever ends."""
    targets = {schema["$ref"]: resolve(root, schema["$ref"]) for _, schema in nodes(root) if "$ref" in schema}
    finite: set[str] = set()
    while grown := [name for name in targets if name not in finite and _finite(targets[name], finite.__contains__)]:
        finite.update(grown)
    for where, schema in nodes(root):
        if "$ref" in schema and schema["$ref"] not in finite:
            yield f"{where}.$ref {schema['$ref']!r}: no value of it ever ends, because it requires another one"
            return
    if not _finite(root, finite.__contains__):
        yield "$: the schema allows no value"


def _finite(schema: Any, known: Callable[[str], bool]) -> bool:
    """Whether some value that ends conforms to a schema, when ``known`` says which references have one."""
    if isinstance(schema, bool):
        return schema
    if "enum" in schema or "const" in schema:
        return True
    if "$ref" in schema and not known(schema["$ref"]):
        return False
    if not all(_finite(part, known) for part in schema.get("allOf", ())):
        return False
    if any(key in schema and not any(_finite(part, known) for part in schema[key]) for key in ("anyOf", "oneOf")):
        return False
    types = _types([schema])
    if types - {"object", "array"}:
        return True
    objects = "object" in types and all(_finite(_property(schema, name), known) for name in schema.get("required", ()))
    if objects or "array" not in types:
        return objects
    first, least = schema.get("prefixItems", []), schema.get("minItems", 0)
    return all(_finite(part, known) for part in first[:least]) and (
        least <= len(first) or _finite(schema.get("items", True), known)
    )
