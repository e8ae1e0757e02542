"""Whether a value conforms to a JSON Schema of the supported subset.

Patterns are left to the engine that writes the answer: Python's regular expressions can take very long.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable
from typing import Any, Final

from mcp_server.providers.json_schema.parts import resolve

_FORMATS: Final[dict[str, Callable[[str], object]]] = {
    "date": dt.date.fromisoformat,
    "date-time": lambda text: dt.date.fromisoformat(text[:10]),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
}
"""The formats of which the engine's own rules allow a little more: 30 February, for example."""
CHECKED_FORMATS: Final = frozenset(_FORMATS)
"""The formats that :class:`Validator` checks."""


def type_of(value: Any) -> str:
    """The JSON type of a value; a number without a fraction is an ``integer``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


class Validator:
    """Checks values against a schema and its definitions.

    Args:
        root: the whole schema, to which references refer.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._kept: list[Any] = []
        self._known: dict[tuple[int, int], bool] = {}

    def conforms(self, value: Any, schema: Any = None) -> bool:
        """Whether ``value`` conforms to ``schema``, by default the whole one."""
        schema = self._root if schema is None else schema
        if isinstance(schema, bool):
            return schema
        key = id(schema), id(value)
        if key not in self._known:
            self._kept.append((schema, value))  # so that their ids stay their own
            self._known[key] = self._conforms(value, schema)
        return self._known[key]

    def _conforms(self, value: Any, schema: dict[str, Any]) -> bool:
        kind = type_of(value)
        types = schema.get("type", kind)
        types = types if isinstance(types, list) else [types]
        if kind not in types and not (kind == "integer" and "number" in types):
            return False
        if "const" in schema and not same(value, schema["const"]):
            return False
        if "enum" in schema and not any(same(value, choice) for choice in schema["enum"]):
            return False
        if "$ref" in schema and not self.conforms(value, resolve(self._root, schema["$ref"])):
            return False
        if not all(self.conforms(value, part) for part in schema.get("allOf", ())):
            return False
        if "anyOf" in schema and not any(self.conforms(value, part) for part in schema["anyOf"]):
            return False
        if "oneOf" in schema and [self.conforms(value, part) for part in schema["oneOf"]].count(True) != 1:
            return False
        if kind in ("integer", "number"):
            return _number(value, schema)
        if kind == "string":
            return _string(value, schema)
        return self._array(value, schema) if kind == "array" else kind != "object" or self._object(value, schema)

    def _array(self, value: list[Any], schema: dict[str, Any]) -> bool:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        first = schema.get("prefixItems", ())
        rest = schema.get("items", True)
        return all(
            self.conforms(item, first[index] if index < len(first) else rest) for index, item in enumerate(value)
        )

    def _object(self, value: dict[str, Any], schema: dict[str, Any]) -> bool:
        if not all(name in value for name in schema.get("required", ())):
            return False
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        return all(self.conforms(item, properties.get(name, rest)) for name, item in value.items())


def _number(value: float, schema: dict[str, Any]) -> bool:
    infinite = float("inf")
    return (
        schema.get("minimum", -infinite) <= value <= schema.get("maximum", infinite)
        and ("exclusiveMinimum" not in schema or schema["exclusiveMinimum"] < value)
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    )


def _string(value: str, schema: dict[str, Any]) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    check = _FORMATS.get(schema.get("format", ""))
    try:
        if check is not None:
            check(value)
    except ValueError:
        return False
    return True
