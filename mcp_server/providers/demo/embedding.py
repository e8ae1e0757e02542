"""Embeddings without a model: texts with many words, and parts of words, in common have vectors that are near."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Final
from zlib import crc32

DIMENSIONS: Final = 256
MOST_DIMENSIONS: Final = 4096
_WORD_WEIGHT: Final = 2.0
"""A word that two texts share counts more than three letters that they share."""


def vector(text: str, dimensions: int) -> list[float]:
    """The vector of a text, of length 1: its words and their parts, each hashed to a dimension and a sign."""
    values = [0.0] * dimensions
    for feature, weight in _features(text):
        digest = crc32(feature.encode("utf-8", "surrogatepass"))
        values[(digest >> 1) % dimensions] += weight if digest & 1 else -weight
    length = math.hypot(*values)
    if not length:  # no word, or features that cancel out
        values[crc32(text.encode("utf-8", "surrogatepass")) % dimensions] = length = 1.0
    return [value / length for value in values]


def _features(text: str) -> Iterator[tuple[str, float]]:
    words = re.findall(r"\w+", text.casefold())
    for word in words:
        yield word, _WORD_WEIGHT
        framed = f" {word} "
        for index in range(len(framed) - 2):
            yield framed[index : index + 3], 1.0
    for first, second in itertools.pairwise(words):
        yield f"{first} {second}", 1.0
