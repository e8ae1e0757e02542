"""Violations: collected while a request is judged, and raised all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mcp_server.errors import InvalidArgument, Violation

MAX_VIOLATIONS: Final = 100
"""After so many, the rest of the request is not judged: a large request of errors alone would cost seconds."""


class Violations(list[Violation]):
    """What is wrong with a request, in the order in which it was found."""

    __slots__ = ()

    def add(self, field: str, description: str) -> None:
        """Report a field.

        Args:
            field: its path in the contract, for example ``messages[2].parts[0].text``.
            description: what is wrong, what is allowed, what to do.

        Raises:
            InvalidArgument: there are :data:`MAX_VIOLATIONS` now.
        """
        self.append(Violation(field=field, description=description))
        if len(self) == MAX_VIOLATIONS:
            raise InvalidArgument(self)


def refuse(reported: Sequence[Violation], found: Sequence[Violation] = ()) -> None:
    """Raise all violations as one error; return if there is none.

    Args:
        reported: what the edge could not convert.
        found: what the rules found. What they say of a field that the edge could not convert, or of a part of it, is
            left out: they saw a placeholder.

    Raises:
        InvalidArgument: there is at least one violation.
    """
    if not reported:
        if found:
            raise InvalidArgument(found)
        return
    fields = {violation.field for violation in reported}
    raise InvalidArgument([*reported, *[violation for violation in found if not _within(violation.field, fields)]])


def _within(field: str, fields: set[str]) -> bool:
    """Whether the path, or one that it begins with, is among ``fields``."""
    return field in fields or any(field[:end] in fields for end, mark in enumerate(field) if mark in ".[")


def shown(text: str) -> str:
    """A caller's text as an error shows it: quoted, at most 80 characters, control characters escaped."""
    return repr(text if len(text) <= 80 else text[:77] + "...")
