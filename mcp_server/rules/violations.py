"""Violations: collected while a request is judged, and raised all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.errors import InvalidArgument, Violation

MAX_VIOLATIONS: Final = 50
"""How many violations are kept; further ones are counted."""
MAX_COUNTED: Final = 1000
"""How many are counted. Then the rest of the request is not judged, since a large request of errors alone would take
long."""
_MAX_TEXT: Final = 500
"""Characters of a field's path, and of a description."""


class Violations(list[Violation]):
    """What is wrong with a request, in the order in which it was found."""

    __slots__ = ("more",)

    def __init__(self) -> None:
        super().__init__()
        self.more = 0
        """How many were found and are not kept."""

    @property
    def full(self) -> bool:
        """Whether further violations are only counted, so that nobody has to describe them."""
        return len(self) == MAX_VIOLATIONS

    def add(self, field: str, description: str) -> None:
        """Report a field.

        Args:
            field: its path in the contract, for example ``messages[2].parts[0].text``.
            description: what is wrong, what is allowed, what to do.

        Raises:
            InvalidArgument: :data:`MAX_COUNTED` violations were found.
        """
        if self.full:
            self.count_more(1)
        else:
            self.append(Violation(field=_cut(field), description=_cut(description)))

    def count_more(self, number: int) -> None:
        """Count violations that are not described."""
        self.more += number
        if len(self) + self.more >= MAX_COUNTED:
            raise InvalidArgument(self, more=self.more)


def refuse(reported: Sequence[Violation], found: Sequence[Violation] = ()) -> None:
    """Raise all violations as one error; return if there is none.

    Args:
        reported: what the edge could not convert.
        found: what the rules found. What they say of a field that the edge could not convert, or of a part of it, is
            left out: they saw a placeholder.

    Raises:
        InvalidArgument: there is at least one violation.
    """
    if not reported and not found:
        return
    fields = {violation.field for violation in reported}
    rest = [violation for violation in found if not fields or not _within(violation.field, fields)]
    listed = [*reported, *rest]
    more = sum([some.more for some in (reported, found) if isinstance(some, Violations)])
    raise InvalidArgument(listed[:MAX_VIOLATIONS], more=more + max(len(listed) - MAX_VIOLATIONS, 0))


def _within(field: str, fields: set[str]) -> bool:
    """Whether the path, or one that it begins with, is among ``fields``."""
    return field in fields or any(field[:end] in fields for end, mark in enumerate(field) if mark in ".[")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def shown(text: str) -> str:
    """A caller's text as an error shows it: quoted, at most 80 characters, control characters escaped."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
