"""Arguments of any call: named when something is wrong with them, and as the wire has them where it has something."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

from google.protobuf import duration_pb2, struct_pb2

Seconds = float | timedelta

MAX_JSON_DEPTH: Final = 30
"""Of lists and objects in one another. Protocol buffers end at a hundred messages, and each level is three of them."""
MAX_JSON_INTEGER: Final = 2**53
"""Numbers in JSON are doubles; above this they lose their last digits."""
_LONGEST: Final = 1e9
"""Seconds: thirty years. Clocks overflow behind that."""


class Unset:
    """Stands for an argument that was not given, where ``None`` means something."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


@contextmanager
def argument(name: str) -> Iterator[None]:
    """Around the use of an argument: what is wrong with it is said with its name.

    Raises:
        ValueError: it cannot be sent; a string with half a surrogate pair, for example.
        TypeError: it is not of a type that can be sent.
    """
    try:
        yield
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from error
    except (TypeError, AttributeError) as error:
        raise TypeError(f"{name}: {error}") from error


def seconds(name: str, value: Seconds) -> float:
    """A time to wait.

    Raises:
        ValueError: it is not above 0.
        TypeError: it is no time.
    """
    with argument(name):
        result = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(result, bool) or not isinstance(result, int | float):
            raise TypeError(f"expected seconds or a timedelta, not {value!r}")
        if not 0 < result < math.inf:
            raise ValueError(f"expected seconds above 0, not {value!r}")
    return min(result, _LONGEST)


_Value = TypeVar("_Value")


def chosen(name: str, value: str, choices: Mapping[str, _Value]) -> _Value:
    """The value that a word stands for.

    Raises:
        ValueError: it is none of these words.
    """
    with argument(name):
        if value not in choices:
            raise ValueError(f"expected {' or '.join(map(repr, choices))}, not {value!r}")
        return choices[value]


def duration(name: str, value: Seconds) -> duration_pb2.Duration:
    """A duration of seconds or of a timedelta."""
    with argument(name):
        if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
            raise TypeError(f"expected seconds or a timedelta, not {value!r}")
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
        nanoseconds = round(seconds * 1_000_000_000)
        return duration_pb2.Duration(
            seconds=int(nanoseconds / 1_000_000_000),
            nanos=nanoseconds - int(nanoseconds / 1_000_000_000) * 1_000_000_000,
        )


def struct(name: str, value: Mapping[str, Any]) -> struct_pb2.Struct:
    """A JSON object."""
    result = struct_pb2.Value()
    with argument(name):
        fill_json(result, dict(value), 1)
    return result.struct_value


def fill_json(target: struct_pb2.Value, value: Any, depth: int) -> None:
    """Put what JSON can say into ``target``, and nothing that would come back as something else."""
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} deep")
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value}")
        if isinstance(value, int) and abs(value) > MAX_JSON_INTEGER:
            raise ValueError(f"{value} has more digits than are kept of a number; send it as a text")
        target.number_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"JSON has no key {key!r}, only texts")
            fill_json(target.struct_value.fields[key], item, depth + 1)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for item in value:
            fill_json(target.list_value.values.add(), item, depth + 1)
    else:
        raise TypeError(f"JSON cannot say {type(value).__name__}")
