"""The plain form of values: what ``json.dumps`` takes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """A value with all that is in it: times in RFC 3339, numbers of money as texts, and bytes as base64."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain_fields(value)
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
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def plain_fields(value: Any) -> dict[str, Any]:
    """The fields of a value by name. That of a part of a message has its kind in ``type``."""
    kind = getattr(type(value), "_kind", "")
    found = {each.name: plain(getattr(value, each.name)) for each in fields(value)}
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
