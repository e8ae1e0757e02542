"""JSON: ``google.protobuf.Struct`` and ``Value``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, Final

from google.protobuf import struct_pb2

from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_STRUCT_BYTES
from mcp_server.rules.violations import MAX_COUNTED

_EXACT_INTEGERS: Final = 2**53
_KEY_SHOWN: Final = 80
"""Characters of a key in a field's path."""

Path = tuple[Any, str | int] | None
"""Where a value is: the path of the object or array that holds it, and its key or index; ``None`` for the root. Only
what is reported is written out: one long key above many values would be copied for each of them."""


class _TooMany(Exception):
    """So many problems that the rest of a value is not looked at."""


class Problems(list[tuple[Path, str]]):
    """What is wrong with a value, and where."""

    __slots__ = ()

    def add(self, path: Path, problem: str) -> None:
        self.append((path, problem))
        if len(self) == MAX_COUNTED:
            raise _TooMany


def json_object(found: Violations, field: str, struct: struct_pb2.Struct) -> dict[str, Any]:
    """A JSON object as Python values; one that is too large is not converted."""
    if (size := struct.ByteSize()) > MAX_STRUCT_BYTES:
        found.add(field, f"must have at most {MAX_STRUCT_BYTES} bytes, not {size}")
        return {}
    return _converted(found, field, _object, struct) or {}


def json_value(found: Violations, field: str, value: struct_pb2.Value) -> Any:
    """A JSON value as a Python value; whole numbers become ``int``, since JSON does not tell them apart."""
    return _converted(found, field, _value, value)


def _converted(found: Violations, field: str, convert: Callable[[Any, Path, Problems], Any], given: Any) -> Any:
    problems = Problems()
    result = None
    with contextlib.suppress(_TooMany):
        result = convert(given, None, problems)
    for number, (path, problem) in enumerate(problems):
        if found.full:
            found.count_more(len(problems) - number)
            break
        found.add(field + _written(path), problem)
    return result


def _object(struct: struct_pb2.Struct, path: Path, problems: Problems) -> dict[str, Any]:
    return {key: _value(item, (path, key), problems) for key, item in struct.fields.items()}


def _value(value: struct_pb2.Value, path: Path, problems: Problems) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            problems.add(path, f"{number} is not a JSON number")
        elif number.is_integer() and abs(number) <= _EXACT_INTEGERS:
            return int(number)
        return number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return _object(value.struct_value, path, problems)
    if kind == "list_value":
        return [_value(item, (path, index), problems) for index, item in enumerate(value.list_value.values)]
    if kind is None:
        problems.add(path, "must have a kind; null is null_value")
    return None


def _written(path: Path) -> str:
    steps = []
    while path is not None:
        path, step = path
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:_KEY_SHOWN]}")
    return "".join(reversed(steps))
