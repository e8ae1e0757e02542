"""Token counts, and the entries of the usage ledger."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

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


def total_usage(usages: Sequence[Usage]) -> Usage:
    """What calls took together: REPORTED if all that took anything reported it."""
    if len(usages) == 1:
        return usages[0]
    usages = [usage for usage in usages if usage != Usage()]
    reported = bool(usages) and all(usage.source is UsageSource.REPORTED for usage in usages)
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        cached_input_tokens=sum(usage.cached_input_tokens for usage in usages),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        source=UsageSource.REPORTED if reported else UsageSource.ESTIMATED,
    )


class UsageEntry(Struct):
    """What a turn or an embedding request used of one model: an entry of the usage ledger."""

    tenant: str
    """The tenant."""
    time: int
    """When it ended. The ledger keeps the hour."""
    key: str = ""
    """The id of the API key, or empty."""
    session: str = ""
    """The id of the session, or empty."""
    provider: str = ""
    """The provider's configured name."""
    model: str = ""
    """The provider's own name of the model."""
    labels: Mapping[str, str] = {}
    """The labels of the call."""
    turns: int = 0
    """How many turns ended."""
    attempts: int = 0
    """How many calls to the provider were made."""
    usage: Usage = Usage()
    """Their tokens, as :func:`total_usage`."""
    cost_nanos: int = 0
    """Their cost, in billionths of ``currency``."""
    currency: str = ""
    """An ISO 4217 code, or empty."""


class UsageSum(Struct):
    """A sum over entries of the usage ledger."""

    group: tuple[str, ...]
    """The value of each item of ``group_by``; hours and days as their first nanosecond since the Unix epoch."""
    turns: int
    """As in :class:`UsageEntry`, like the fields below."""
    attempts: int
    usage: Usage
    cost_nanos: int
    currency: str
