"""Sums of the usage ledger."""

from __future__ import annotations

from collections.abc import Sequence

from contextprotocol.v1 import usage_pb2
from mcp_server.api.encode.message import usage
from mcp_server.api.encode.timestamp import timestamp
from mcp_server.values import UsageSum


def usage_row(value: UsageSum, group_by: Sequence[str]) -> usage_pb2.UsageRow:
    """One sum, with its group under the names of ``group_by``."""
    return usage_pb2.UsageRow(
        group={name: _text(name, item) for name, item in zip(group_by, value.group, strict=True)},
        turns=value.turns,
        attempts=value.attempts,
        usage=usage(value.usage),
        cost_nanos=value.cost_nanos,
        currency=value.currency,
    )


def _text(name: str, item: str) -> str:
    if name in ("hour", "day"):
        return timestamp(int(item)).ToJsonString()
    return f"{name}s/{item}" if item and name in ("key", "session") else item
