"""JSON: ``google.protobuf.Struct`` and ``Value``."""

from __future__ import annotations

import math
from typing import Any, Final

from google.protobuf import struct_pb2

from mcp_server.rules import Violations
from mcp_server.rules.limits import MAX_STRUCT_BYTES

_EXACT_INTEGERS: Final = 2**53


def json_object(found: Violations, field: str, struct: struct_pb2.Struct) -> dict[str, Any]:
    """A JSON object as Python values; one that is too large is not converted."""
    if (size := struct.ByteSize()) > MAX_STRUCT_BYTES:
        found.add(field, f"must have at most {MAX_STRUCT_BYTES} bytes, not {size}")
        return {}
    return {key: json_value(found, f"{field}.{key}", value) for key, value in struct.fields.items()}


def json_value(found: Violations, field: str, value: struct_pb2.Value) -> Any:
    """A JSON value as a Python value; whole numbers become ``int``, since JSON does not tell them apart."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            found.add(field, f"{number} is not a JSON number")
        elif number.is_integer() and abs(number) <= _EXACT_INTEGERS:
            return int(number)
        return number
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return {key: json_value(found, f"{field}.{key}", item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [json_value(found, f"{field}[{index}]", item) for index, item in enumerate(value.list_value.values)]
    if kind is None:
        found.add(field, "must have a kind; null is null_value")
    return None
