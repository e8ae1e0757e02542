"""Which usage to sum up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf import timestamp_pb2

from contextprotocol.v1 import usage_pb2
from mcp_server.accounts import UsageFilter
from mcp_server.api.decode.name import session_name
from mcp_server.api.decode.session import labels
from mcp_server.rules import Violations, shown
from mcp_server.rules.limits import MAX_CALL_LABELS, MAX_USAGE_GROUPS
from mcp_server.values import HOUR, SECOND

_LAST: Final = (1 << 62) // HOUR * HOUR
"""A time later than any usage, in the year 2116."""


def usage_filter(found: Violations, request: usage_pb2.QueryUsageRequest) -> UsageFilter:
    """The period and the filter of a request."""
    given = request.filter
    return UsageFilter(
        start=_hour(request.start_time, 0) if request.HasField("start_time") else None,
        end=_hour(request.end_time, HOUR - 1) if request.HasField("end_time") else None,
        tenant=given.tenant,
        key=_key(found, given.key) if given.key else None,
        provider=given.provider or None,
        model=given.model or None,
        session=session_name(found, "filter.session", given.session) if given.session else None,
        labels=labels(found, "filter.labels", given.labels, MAX_CALL_LABELS),
    )


def usage_groups(found: Violations, group_by: Sequence[str]) -> tuple[str, ...]:
    """What to distinguish."""
    if len(group_by) > MAX_USAGE_GROUPS:
        found.add("group_by", f"must have at most {MAX_USAGE_GROUPS} items, not {len(group_by)}")
        return ()
    return tuple(group_by)


def _hour(time: timestamp_pb2.Timestamp, add: int) -> int:
    """The full hour that contains the time plus ``add``, within the times that the ledger can have."""
    nanoseconds = min(max(time.seconds, 0), _LAST // SECOND) * SECOND + min(max(time.nanos, 0), SECOND - 1) + add
    return nanoseconds - nanoseconds % HOUR


def _key(found: Violations, name: str) -> str:
    prefix, _, key = name.partition("/")
    if prefix != "keys" or not key:
        found.add("filter.key", f"{shown(name)} is not a valid key name: must be keys/ID")
    return key
