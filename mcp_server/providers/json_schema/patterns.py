"""Which regular expressions the ``pattern`` of a JSON Schema may be.

The engine that constrains answers reads them a little differently from the validators of JSON Schema. Allowed is what
both understand alike, up to a size.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SIZE: Final = 2_000
"""The most characters and classes of a pattern, with its counted repetitions written out."""
ALLOWED: Final = r"characters, classes, groups, |, ^, $, quantifiers, and the escapes \d \w \s \S \n \r \t"

_ESCAPES: Final = frozenset("dwsSnrt") | frozenset("\\^$.*+?()[]{}|/-")
_COUNT: Final = re.compile(r"\{([0-9]{1,5})(,([0-9]{0,5}))?\}")


class BadPattern(Exception):
    """A pattern is not supported; the message says what of it."""


def problem(pattern: str) -> str | None:
    """What of a pattern is not supported; ``None`` if all of it is."""
    try:
        reader = _Reader(pattern)
        size = reader.alternatives()
        if not reader.ended:
            return "has an unmatched parenthesis"
        if size > MAX_SIZE:
            return f"has more than {MAX_SIZE} characters with its repetitions written out"
        re.compile(pattern)
    except BadPattern as error:
        return str(error)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    return None


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at >= len(self._pattern)

    def alternatives(self) -> int:
        """Read up to the end of a group, or of all; the size of it."""
        size = 0
        while not self.ended and self._next() != ")":
            if self._take() == "|":
                continue
            self._at -= 1
            size += self._atom() * self._repetitions()
        return size

    def _atom(self) -> int:
        character = self._take()
        if character == "(":
            if self._next() == "?":
                if self._pattern[self._at : self._at + 2] != "?:":
                    raise BadPattern(f"uses (?…) other than (?:…); supported are {ALLOWED}")
                self._at += 2
            size = self.alternatives()
            if self.ended:
                raise BadPattern("has an unmatched parenthesis")
            self._at += 1
            return size
        if character == "[":
            self._class()
        elif character == "\\":
            self._escape()
        elif character in "{}]*+?":
            raise BadPattern(f"has a {character} that must be escaped")
        return 1

    def _class(self) -> None:
        negated = self._next() == "^"
        begin = self._at = self._at + negated
        while self._next() != "]" or self._at == begin:
            character = self._take()
            if not character:
                raise BadPattern("has an unmatched bracket")
            if character == "[" or (character in "&-~" and self._next() == character) or (character == "]"):
                raise BadPattern(f"has a {character} in a class that must be escaped")
            if character == "\\" and self._escape() in "dwsS" and negated:
                raise BadPattern(r"uses \d, \w, \s or \S in a negated class; name the characters instead")
        self._at += 1

    def _escape(self) -> str:
        character = self._take()
        if not character or character not in _ESCAPES:
            raise BadPattern(f"uses \\{character}; supported are {ALLOWED}")
        return character

    def _repetitions(self) -> int:
        count = 1
        if match := _COUNT.match(self._pattern, self._at):
            self._at = match.end()
            count = max(1, int(match[1]), int(match[3] or 0))
        elif self._next() and self._next() in "*+?":
            self._at += 1
        else:
            return 1
        if self._next() == "+":
            raise BadPattern("uses possessive quantifiers")
        self._at += self._next() == "?"
        return count

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._next()
        self._at += 1
        return character
