"""A text that matches a regular expression of the supported ones: the shortest that its first branches allow."""

from __future__ import annotations

import re
from typing import Final

_CLASSES: Final = {"d": "0", "w": "a", "s": " ", "S": "a", "n": "\n", "r": "\r", "t": "\t"}
_TRIED: Final = "".join(map(chr, [*range(97, 123), *range(65, 91), *range(48, 58), *range(32, 48), *range(58, 65)]))
"""What is tried in the place of a class, in this order."""
_COUNT: Final = re.compile(r"\{([0-9]{1,5})(,[0-9]{0,5})?\}")


class NoMatch(Exception):
    """No text was found."""


def matching(pattern: str, least: int) -> str:
    """A text that matches, of at least so many characters if the pattern allows more.

    Args:
        pattern: one without problems.
        least: the fewest characters.

    Raises:
        NoMatch: none was found.
    """
    reader = _Reader(pattern)
    text = reader.alternatives()
    if len(text) < least and not reader.ends:
        text += "a" * (least - len(text))
    elif len(text) < least:
        text = _Reader(pattern, more=least - len(text)).alternatives()
    return text


class _Reader:
    def __init__(self, pattern: str, more: int = 0) -> None:
        self.ends = False
        """Whether nothing may follow the text."""
        self._begun = False
        self._pattern = pattern
        self._at = 0
        self._more = more
        """How many further repetitions are wanted."""

    def alternatives(self) -> str:
        """The text of the first alternative; read up to the end of the group, or of all."""
        text = ""
        while self._next() not in ("", "|", ")"):
            ended = self.ends
            piece = self._atom() * self._repetitions()
            if piece and ended:
                raise NoMatch(f"{self._pattern}: there is something behind $")
            self._begun = self._begun or bool(piece)
            text += piece
        state = self.ends, self._begun, self._more
        while self._next() == "|":
            self._at += 1
            self.ends, self._begun = False, False
            self.alternatives()  # to get behind it
        self.ends, self._begun, self._more = state
        return text

    def _atom(self) -> str:
        character = self._take()
        if character == "(":
            self._at += 2 * (self._next() == "?")
            text = self.alternatives()
            self._at += 1
            return text
        if character == "[":
            return self._class()
        if character == "\\":
            escaped = self._take()
            return _CLASSES.get(escaped, escaped)
        if character == "^" and self._begun:
            raise NoMatch(f"{self._pattern}: there is something before ^")
        self.ends = self.ends or character == "$"
        return "" if character in "^$" else "a" if character == "." else character

    def _class(self) -> str:
        begin = self._at - 1
        self._at += self._next() == "^"
        first = True  # what comes first is no end
        while first or self._next() != "]":
            self._at += 2 if self._next() == "\\" else 1
            first = False
        self._at += 1
        allowed = re.compile(self._pattern[begin : self._at])
        found = next((character for character in _TRIED if allowed.fullmatch(character)), None)
        if found is None:
            raise NoMatch(f"{self._pattern}: no usual character is in a class")
        return found

    def _repetitions(self) -> int:
        if match := _COUNT.match(self._pattern, self._at):
            self._at = match.end()
            least = int(match[1])
            most = least if match[2] is None else int(match[2][1:] or least + self._more)
        elif self._next() and self._next() in "*+?":
            quantifier = self._take()
            least = int(quantifier == "+")
            most = 1 if quantifier == "?" else least + self._more
        else:
            return 1
        self._at += self._next() == "?"
        added = min(self._more, most - least)
        self._more -= added
        return least + added

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._next()
        self._at += 1
        return character
