"""Strings, numbers and JSON within their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

import msgspec

from mcp_server.rules.limits import (
    MAX_ETAG,
    MAX_MODEL_NAME,
    MAX_REQUEST_ID,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_STRUCT_BYTES,
)
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import SECOND


def characters(found: Violations, field: str, text: str, most: int) -> None:
    """At most ``most`` characters."""
    if len(text) > most:
        found.add(field, f"must have at most {most} characters, not {len(text)}")


def utf8_bytes(found: Violations, field: str, text: str, most: int) -> None:
    """At most ``most`` bytes in UTF-8."""
    if len(text) * 4 > most and (size := len(text.encode())) > most:
        found.add(field, f"must have at most {most} bytes, not {size}")


def not_empty(found: Violations, field: str, text: str) -> None:
    """A text that is required."""
    if not text:
        found.add(field, "must not be empty")


def number(found: Violations, field: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    """A number from ``low`` to ``high``, which NaN is not; ``above`` excludes ``low`` itself."""
    if not low <= value <= high or (above and value == low):
        span = f"greater than {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        found.add(field, f"must be {span}, not {value:g}")


def whole(found: Violations, field: str, value: int, low: int, high: int | None = None) -> None:
    """A whole number from ``low`` to ``high``."""
    if value < low or (high is not None and value > high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        found.add(field, f"must be {span}, not {value}")


def duration(found: Violations, field: str, nanoseconds: int, low: int, high: int) -> None:
    """A duration from ``low`` to ``high`` nanoseconds."""
    if not low <= nanoseconds <= high:
        span = f"from {_seconds(low)} to {_seconds(high)}"
        found.add(field, f"must be {span}, not {_seconds(nanoseconds)}")


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / SECOND:.9f}".rstrip("0").rstrip(".") + " s"


def request_id(found: Violations, key: str) -> None:
    """A key for retries; an empty one means that there is none."""
    if key and (len(key) > MAX_REQUEST_ID or not (key.isascii() and key.isprintable())):
        found.add(
            "request_id",
            f"{shown(key)} is not a valid request id: must be 1 to {MAX_REQUEST_ID} printable ASCII characters",
        )


def expected_etag(found: Violations, field: str, sent: str) -> None:
    """The etag that a session is expected to have."""
    characters(found, field, sent, MAX_ETAG)


def model_name(found: Violations, field: str, name: str) -> None:
    """The name of a model; an empty one means the default."""
    if len(name) > MAX_MODEL_NAME:
        characters(found, field, name, MAX_MODEL_NAME)
    elif not name.isprintable():
        found.add(field, f"{shown(name)} is not a valid model name: must not contain control characters")


def json_schema(found: Violations, field: str, text: str) -> None:
    """The text of a JSON Schema: of a JSON object."""
    size = len(text) if text.isascii() else len(text.encode())
    if not 0 < size <= MAX_SCHEMA_BYTES:
        not_empty(found, field, text)
        utf8_bytes(found, field, text, MAX_SCHEMA_BYTES)
        return
    if _depth(text) > MAX_SCHEMA_DEPTH:
        found.add(field, f"must be nested at most {MAX_SCHEMA_DEPTH} levels deep")
        return
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        found.add(field, f"must be the text of a JSON object: {error}")


_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""A string in JSON; one without an end reaches to the end of the text, so that no text takes long."""
_BRACKETS: Final = b"[]{}"
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STEPS: Final = tuple((byte in b"[{") - (byte in b"]}") for byte in range(256))


def _depth(text: str) -> int:
    """How many objects and arrays of a JSON text are within each other; 0 for one that cannot be too deep."""
    if text.count("{") + text.count("[") <= MAX_SCHEMA_DEPTH:
        return 0
    brackets = _STRING.sub("", text).encode().translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def json_object(found: Violations, field: str, value: Mapping[str, Any]) -> None:
    """A JSON object that callers attach to something."""
    if value and (size := _least_bytes(value)) > MAX_STRUCT_BYTES:
        found.add(field, f"must have at most {MAX_STRUCT_BYTES} bytes, not {size}")


def _least_bytes(value: Any) -> int:
    """The size of a JSON value, never more than it has in protobuf: what an edge measured there is not refused here."""
    if isinstance(value, str):
        return 4 + len(value.encode())
    if isinstance(value, Mapping):
        return 4 + sum([4 + len(key.encode()) + _least_bytes(item) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return 4 + sum([_least_bytes(item) for item in value])
    return 4
