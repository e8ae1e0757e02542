"""Validates and converts the arguments of calls; errors name the argument."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from mcp_client.values.options import Seconds

MAX_JSON_DEPTH: Final = 30
"""The maximum nesting of lists and objects. Protobuf allows a hundred nested messages, and each level takes three."""
MAX_JSON_INTEGER: Final = 2**53
"""JSON numbers are doubles, which represent larger integers inexactly."""
_MAX_SECONDS: Final = 1e9
"""Thirty years. Longer times overflow the clocks."""


class Unset:
    """The default of arguments for which ``None`` is a value of its own."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@contextmanager
def argument(name: str) -> Iterator[None]:
    """Add the name of an argument to the errors that its use raises.

    Raises:
        ValueError: the value cannot be sent, for example a string with half a surrogate pair.
        TypeError: a value of this type cannot be sent.
    """
    try:
        yield
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error
    except (TypeError, AttributeError) as error:
        raise TypeError(f"{name}: {error}") from error


def seconds(name: str, value: Seconds) -> float:
    """A positive time span, in seconds.

    Raises:
        ValueError: it is not positive.
        TypeError: it is neither a number nor a timedelta.
    """
    with argument(name):
        result = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise TypeError(f"expected seconds or a timedelta, not {value!r}")
        if not 0 < result < math.inf:
            raise ValueError(f"expected seconds above 0, not {value!r}")
    return min(result, _MAX_SECONDS)


_Value = TypeVar("_Value")


def chosen(name: str, value: str, choices: Mapping[str, _Value]) -> _Value:
    """The value of one of several keywords.

    Raises:
        ValueError: the keyword is not one of them.
    """
    with argument(name):
        if value not in choices:
            raise ValueError(f"expected {' or '.join(map(repr, choices))}, not {value!r}")
        return choices[value]


def duration(name: str, value: Seconds) -> duration_pb2.Duration:
    """A time span as a protobuf duration."""
    with argument(name):
        if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
            raise TypeError(f"expected seconds or a timedelta, not {value!r}")
        span = value.total_seconds() if isinstance(value, timedelta) else value
        result = duration_pb2.Duration()
        result.FromNanoseconds(round(span * 1_000_000_000))
        return result


def timestamp(name: str, value: datetime) -> timestamp_pb2.Timestamp:
    """A point in time as a protobuf timestamp.

    Raises:
        ValueError: it has no time zone.
        TypeError: it is not a datetime.
    """
    with argument(name):
        if not isinstance(value, datetime):
            raise TypeError(f"expected a datetime, not {value!r}")
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: pass for example datetime.now(UTC)")
        result = timestamp_pb2.Timestamp()
        result.FromDatetime(value)
        return result


def struct(name: str, value: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object as a protobuf struct."""
    result = struct_pb2.Value()
    with argument(name):
        fill_json(result, dict(value), 1)
    return result.struct_value


def fill_json(target: struct_pb2.Value, value: Any, depth: int) -> None:
    """Set ``target`` to a JSON value. Values that would be read back differently are refused."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"nested more than {MAX_JSON_DEPTH} levels deep")
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        if isinstance(value, int) and abs(value) > MAX_JSON_INTEGER:
            raise ValueError(f"{value} is larger than JSON numbers represent exactly; send it as a string")
        target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{key!r} is not a JSON key; expected a string")
            fill_json(target.struct_value.fields[key], item, depth + 1)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for item in value:
            fill_json(target.list_value.values.add(), item, depth + 1)
    else:
        raise TypeError(f"{type(value).__name__} is not a JSON type")
