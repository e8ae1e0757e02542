"""How many tokens a model reads, as its ``config.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OFFSET: Final = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "led",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""The kinds of models whose first token has the position after that of the padding."""
EXTENDED: Final = frozenset({"dynamic", "linear", "yarn"})
"""The ways of stretching positions by a factor that the window of the file does not contain."""
MAX_FACTOR: Final = 10_000
MAX_WINDOW: Final = 10**12
"""More than any model has: files with larger numbers are odd."""


def usable(config: Mapping[str, Any], window: int) -> int:
    """What the positions of a model leave of its ``window``; 0 where that is not known."""
    if str(config.get("model_type")) not in OFFSET or not window:
        return window
    padding = config.get("pad_token_id")
    return max(0, window - (padding if isinstance(padding, int) else 1) - 1)


def largest(config: Mapping[str, Any], window: int) -> int:
    """The largest context window that may be set for a model whose files have this one."""
    stretched = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(stretched, dict):
        return window
    kind, factor = stretched.get("rope_type", stretched.get("type")), stretched.get("factor")
    original = stretched.get("original_max_position_embeddings")
    if not isinstance(original, int):
        original = window
    if str(kind) not in EXTENDED or not isinstance(factor, int | float) or not 1 <= factor <= MAX_FACTOR:
        return window
    return max(window, int(min(original, MAX_WINDOW) * factor))
