"""Token counts."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class UsageSource(enum.StrEnum):
    """The source of token counts."""

    REPORTED = "reported"
    """The provider reported them."""
    ESTIMATED = "estimated"
    """The server estimated them, because the provider reported none."""


class Usage(Struct):
    """The token counts of a call."""

    input_tokens: int = 0
    """All tokens of the prompt, including cached ones."""
    cached_input_tokens: int = 0
    """The tokens of the prompt that the provider read from its cache."""
    cache_write_tokens: int = 0
    """The tokens of the prompt that the provider wrote to its cache."""
    output_tokens: int = 0
    """All tokens of the answer, including reasoning."""
    reasoning_tokens: int = 0
    """The tokens of the answer that were reasoning."""
    source: UsageSource = UsageSource.ESTIMATED
    """The source of the counts."""
