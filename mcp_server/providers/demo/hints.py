"""What a text says about the values that are asked for: numbers, quoted texts, names, and values by name."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

MISSING: Final = object()
"""There is no hint."""
WHOLE_TEXT: Final = frozenset(("content", "input", "message", "prompt", "q", "query", "question", "search", "text"))
"""The names of properties that stand for the whole text."""
LONGEST: Final = 2000
"""How much of a text is read for hints, in characters."""

_QUOTED: Final = re.compile(r"\"([^\"]{1,200})\"|“([^”]{1,200})”")
_NAMES: Final = re.compile(r"(?<=\w[ ,;:(])[A-Z][\w-]*(?: [A-Z][\w-]*)*")
"""Words that begin with a capital letter, unless they begin a sentence."""
_NUMBERS: Final = re.compile(r"(?<![\w.])-?[0-9]{1,15}(?:\.[0-9]{1,6})?(?![\w])")
_PAIRS: Final = re.compile(r"(\w+) ?= ?(\"[^\"]*\"|[^\s,;]+?(?=[.?!]*(?:[\s,;]|$)))")


class Hints:
    """The hints of a text. Each text and number is used once, in order.

    Args:
        text: what the caller has written.
    """

    def __init__(self, text: str) -> None:
        self._text = text[:LONGEST]
        self._pairs: dict[str, Any] = {name: _value(value) for name, value in _PAIRS.findall(self._text)}
        self._pairs |= object_in(text) or {}
        rest = _PAIRS.sub("", self._text)
        quoted = ["".join(groups) for groups in _QUOTED.findall(rest)]
        self._texts = [*quoted, *_NAMES.findall(_QUOTED.sub("", rest))]
        self._numbers = [_value(number) for number in _NUMBERS.findall(rest)]

    def named(self, name: str) -> Any:
        """What the text says is the value of that name, or :data:`MISSING`."""
        return self._pairs.get(name, MISSING)

    def choice(self, values: list[Any]) -> Any:
        """The value that the text mentions, or :data:`MISSING`."""
        words = " ".join(["", *re.findall(r"[^\s,;.?!\"“”]+", self._text.casefold()), ""])
        return next((value for value in values if f" {str(value).casefold()} " in words), MISSING)

    def text(self, name: str) -> Any:
        """The next text for a value of that name, or :data:`MISSING`."""
        if self._texts:
            return self._texts.pop(0)
        return self._text if self._text and name.casefold() in WHOLE_TEXT else MISSING

    def number(self) -> Any:
        """The next number, or :data:`MISSING`."""
        return self._numbers.pop(0) if self._numbers else MISSING

    def put_back(self, value: Any) -> None:
        """A text or number that was of no use."""
        (self._texts if isinstance(value, str) else self._numbers).insert(0, value)


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object with which a text ends; ``None`` if there is none."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value = json.loads(text[start:], parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _value(text: str) -> Any:
    """What a word stands for: JSON, or itself."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
