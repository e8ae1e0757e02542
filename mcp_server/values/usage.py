"""Token counts."""

from __future__ import annotations

import enum

from mcp_server.values.base import Struct


class UsageSource(enum.StrEnum):
    """Where token counts come from."""

    REPORTED = "reported"
    """From the provider."""
    ESTIMATED = "estimated"
    """Counted by this server because the provider reported none."""


class Usage(Struct):
    """How many tokens a call took."""

    input_tokens: int = 0
    """All tokens of the prompt, cached ones included."""
    cached_input_tokens: int = 0
    """Those of the prompt that the provider read from its cache."""
    cache_write_tokens: int = 0
    """Those of the prompt that the provider wrote to its cache."""
    output_tokens: int = 0
    """All tokens of the answer, reasoning included."""
    reasoning_tokens: int = 0
    """Those of the answer that were reasoning."""
    source: UsageSource = UsageSource.ESTIMATED
    """Who counted."""
