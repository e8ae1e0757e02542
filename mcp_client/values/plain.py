"""The plain form of values: what ``json.dumps`` takes."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from mcp_client.values.session import LEFT_OUT


def plain(value: Any, *, omit: Collection[str] = ()) -> Any:
    """A value with all that is in it: times in RFC 3339, amounts of money as texts, bytes as base64, sets sorted.

    Args:
        value: of the client, or a collection of such values.
        omit: the names of fields to leave out, at any depth.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value, omit=omit)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, array):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item, omit=omit) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item, omit=omit) for item in value]
    if isinstance(value, set | frozenset):
        return sorted([plain(item, omit=omit) for item in value])
    raise TypeError(f"{type(value).__name__} has no plain form")


def plain_fields(value: Any, *, omit: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a value by name, without those that its response left out. A part of a message has its kind in
    ``type``.
    """
    kind = getattr(type(value), "_kind", "")
    contents = {each.name: object.__getattribute__(value, each.name) for each in fields(value) if each.name not in omit}
    found = {name: plain(content, omit=omit) for name, content in contents.items() if content is not LEFT_OUT}
    return {"type": kind, **found} if kind else found


def shown(value: Any) -> str:
    """The representation of a value without the fields that have their defaults."""
    described = []
    for each in fields(value):
        content = getattr(value, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if each.repr and (default is MISSING or content != default):
            described.append(f"{each.name}={content!r}")
    return f"{type(value).__qualname__}({', '.join(described)})"
