"""The ``provider_options`` of calls: names, types and bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.errors import InvalidArgument, UnsupportedByModel, Violation
from mcp_server.providers.llama_cpp import reasoning


class _Number(msgspec.Struct, frozen=True, kw_only=True):
    """What a number may be."""

    least: float
    most: float
    whole: bool = False

    def __str__(self) -> str:
        return f"{'an integer' if self.whole else 'a number'} from {self.least} to {self.most}"

    def takes(self, value: Any) -> bool:
        """Whether a value is one of them."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.least <= value <= self.most and (not self.whole or math.floor(value) == value)


class _Texts(msgspec.Struct, frozen=True, kw_only=True):
    """How many texts, and how long."""

    most: int
    longest: int

    def __str__(self) -> str:
        return f"an array of 1 to {self.most} texts of 1 to {self.longest} characters"

    def takes(self, value: Any) -> bool:
        """Whether a value is such an array."""
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            return False
        return all(isinstance(text, str) and 1 <= len(text) <= self.longest for text in value)


OPTIONS: Final[Mapping[str, _Number | _Texts | None]] = {
    "dry_allowed_length": _Number(least=1, most=65_536, whole=True),
    "dry_base": _Number(least=1, most=100),
    "dry_multiplier": _Number(least=0, most=100),
    "dry_penalty_last_n": _Number(least=0, most=65_536, whole=True),
    "dry_sequence_breakers": _Texts(most=32, longest=64),
    "ignore_eos": None,
    "min_p": _Number(least=0, most=1),
    "repeat_last_n": _Number(least=0, most=65_536, whole=True),
    "repeat_penalty": _Number(least=0.01, most=100),
    "top_k": _Number(least=0, most=1_000_000, whole=True),
    "typical_p": _Number(least=0.001, most=1),
}
"""The options by llama.cpp's names, each with what it takes; ``None``: true or false."""


def checked(options: Mapping[str, Any], model: str, *, chat: bool, constrained: bool) -> dict[str, Any]:
    """The options of sampling as llama.cpp takes them.

    Args:
        options: the ``provider_options`` of a call.
        model: the name of the model.
        chat: whether it is a chat, which also takes the options about its template.
        constrained: whether the answer is held to a JSON Schema.

    Raises:
        UnsupportedByModel: one is not known.
        InvalidArgument: an option does not take its value; all such options are listed.
    """
    others = reasoning.CHAT_OPTIONS if chat else ()
    unknown = sorted(options.keys() - OPTIONS.keys() - set(others))
    if unknown:
        known = ", ".join((*OPTIONS, *others))
        raise UnsupportedByModel(
            f"provider_options.{unknown[0]} is not known to the model {model}; known are {known}",
            metadata={"model": model, "option": unknown[0]},
        )
    taken: dict[str, Any] = {}
    violations: list[Violation] = []
    for name, value in options.items():
        if name in others:
            continue
        kind = OPTIONS[name]
        if not (isinstance(value, bool) if kind is None else kind.takes(value)):
            allowed = "true or false" if kind is None else str(kind)
            description = f"must be {allowed}, not {_short(value)}"
        elif name == "ignore_eos" and value and constrained:
            description = "cannot be true where the answer is held to JSON: the answer would never end"
        else:
            # Where numbers have only one kind, whole ones arrive as 40.0.
            taken[name] = int(value) if isinstance(kind, _Number) and kind.whole else value
            continue
        violations.append(Violation(field=f"provider_options.{name}", description=description))
    if chat:
        violations += reasoning.violations(options)
    if violations:
        raise InvalidArgument(violations)
    return taken


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
