"""What was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from mcp_client.values.message import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """The usage of one group."""

    group: Mapping[str, str]
    """The value of each item of ``group_by``, hours and days as RFC 3339 timestamps; empty: none, for example no
    session."""
    turns: int
    """How many turns ended. A turn that used several models counts for the last one."""
    attempts: int
    """How many calls to providers were made."""
    usage: Usage
    """Their tokens."""
    cost: Decimal
    """Their cost, in ``currency``."""
    currency: str
    """An ISO 4217 code; empty where the server has no price."""
