"""Reads the docstrings of functions: the description, and those of the parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_PARAMETERS: Final = re.compile(
    r"(?:Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters):"
)
_OUTCOMES: Final = re.compile(r"(?:Returns?|Yields?|Raises?|Except|Exceptions):")
"""The headings of Google's style. Other headings are part of the description."""
_PARAMETER: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?:\s*(.*)")
_FIELD: Final = re.compile(r":(\w+)(?:\s+(?:[^:]*\s)?(\w+))?:\s*(.*)")
"""A field of Sphinx's style, for example ``:param int number: how many``."""
_PARAMETER_FIELDS: Final = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})
_OUTCOME_FIELDS: Final = frozenset(
    {"type", "return", "returns", "rtype", "yield", "yields", "raise", "raises", "except", "exception"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """The parts of a docstring that a model reads."""

    description: str
    """The whole docstring without the sections about parameters, results and errors."""
    parameters: Mapping[str, str]
    """The descriptions of the parameters, by name."""


def parse(docstring: str) -> Docstring:
    """Parse a docstring in Google's or Sphinx's style, or in none.

    Args:
        docstring: with its indentation removed, as :func:`inspect.getdoc` returns it.
    """
    lines = docstring.splitlines()
    description: list[str] = []
    parameters: dict[str, str] = {}
    index = 0
    while index < len(lines):
        block = _indented(lines, index + 1)
        field = _FIELD.fullmatch(lines[index])
        if field is not None and field[1] in _PARAMETER_FIELDS | _OUTCOME_FIELDS:
            if field[1] in _PARAMETER_FIELDS and field[2]:
                parameters[field[2]] = _joined([field[3], *block])
        elif any(block) and _PARAMETERS.fullmatch(lines[index].rstrip()) and (entries := _parameters(block)):
            parameters.update(entries)
        elif not (any(block) and _OUTCOMES.fullmatch(lines[index].rstrip())):
            description.append(lines[index])
            index += 1
            continue
        index += 1 + len(block)
    return Docstring(description="\n".join(description).strip(), parameters=parameters)


def _indented(lines: list[str], first: int) -> list[str]:
    """The lines from ``first`` that are indented or blank."""
    end = next((index for index in range(first, len(lines)) if lines[index][:1].strip()), len(lines))
    return lines[first:end]


def _parameters(block: list[str]) -> dict[str, str]:
    """The entries of a section about parameters; further lines of an entry are indented deeper."""
    margin = min(len(line) - len(line.lstrip()) for line in block if line.strip())
    entries: dict[str, list[str]] = {}
    name = ""
    for line in block:
        found = _PARAMETER.fullmatch(line[margin:]) if line.strip() else None
        if found is not None:
            name, entries[found[1]] = found[1], [found[2]]
        elif name:
            entries[name].append(line)
    return {name: _joined(lines) for name, lines in entries.items()}


def _joined(lines: list[str]) -> str:
    return " ".join([line.strip() for line in lines if line.strip()])
