"""Text that was cut in units of UTF-16: halves of characters are joined, and lone ones replaced."""

from __future__ import annotations

from typing import Final

_HIGH: Final = ("\ud800", "\udbff")
"""The first and the last code unit that begins a pair."""


def repaired(text: str) -> str:
    """The text with pairs of surrogates joined and U+FFFD for each lone one, which can be neither sent nor stored."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def split_last(text: str) -> tuple[str, str]:
    """A piece of text, repaired, and the half of a character that it ends with, or empty: the next piece may begin with
    the other half."""
    if text.isascii():
        return text, ""
    if _HIGH[0] <= text[-1] <= _HIGH[1]:
        return repaired(text[:-1]), text[-1]
    return repaired(text), ""
