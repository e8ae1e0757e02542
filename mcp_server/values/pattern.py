"""Patterns of texts, in which ``*`` stands for any text and everything else for itself."""

from __future__ import annotations

import fnmatch


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the whole text.

    Of two patterns, the first matches everything that the second matches if it matches the second as a text.
    """
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def may_match(pattern: str, beginning: str) -> bool:
    """Whether the pattern can match a text with that beginning."""
    literal = pattern.partition("*")[0]
    return literal.startswith(beginning) or (literal != pattern and beginning.startswith(literal))
