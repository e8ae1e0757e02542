"""Requests of the key and usage services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from contextprotocol.v1 import key_pb2, usage_pb2
from mcp_client._core.arguments import Unset, argument, duration, timestamp
from mcp_client._core.requests.names import key_name, session_name
from mcp_client.errors import limit_name
from mcp_client.values import Key, Limits, Session

COST_FIELDS: Final = {
    limit_name(field): field for field in ("cost_nanos_per_day", "cost_nanos_per_month", "cost_nanos_per_window")
}
"""The limits on costs, by their names in :class:`~mcp_client.Limits`; the contract counts in billionths."""
NUMBER_FIELDS: Final = (
    "requests_per_minute",
    "request_burst",
    "tokens_per_minute",
    "token_burst",
    "tokens_per_day",
    "tokens_per_month",
    "tokens_per_window",
    "concurrent_turns",
    "sessions",
    "stored_bytes",
)
"""The limits that are whole numbers."""


def create_key(
    *,
    scopes: Sequence[str],
    display_name: str,
    tenant: str,
    models: Sequence[str],
    limits: Limits | None,
    labels: Mapping[str, str],
    expire_time: datetime | None,
) -> key_pb2.CreateKeyRequest:
    """Create a key."""
    request = key_pb2.CreateKeyRequest()
    with argument("tenant"):
        request.key.tenant = tenant
    _fill(
        request.key,
        display_name=display_name,
        scopes=scopes,
        models=models,
        limits=limits,
        labels=labels,
        expire_time=expire_time,
    )
    return request


def update_key(
    key: str | Key,
    *,
    display_name: str | Unset,
    scopes: Sequence[str] | Unset,
    models: Sequence[str] | Unset,
    limits: Limits | Unset | None,
    labels: Mapping[str, str] | Unset,
    expire_time: datetime | Unset | None,
    etag: str,
) -> key_pb2.UpdateKeyRequest:
    """Update the fields of a key that are given."""
    request = key_pb2.UpdateKeyRequest()
    request.key.name = key_name(key)
    with argument("etag"):
        request.key.etag = etag
    paths = _fill(
        request.key,
        display_name=display_name,
        scopes=scopes,
        models=models,
        limits=limits,
        labels=labels,
        expire_time=expire_time,
    )
    request.update_mask.paths.extend(paths)
    return request


def list_keys(*, tenant: str, page_size: int) -> key_pb2.ListKeysRequest:
    """List the first page of keys."""
    request = key_pb2.ListKeysRequest()
    with argument("tenant"):
        request.tenant = tenant
    with argument("page_size"):
        request.page_size = page_size
    return request


def query_usage(
    *,
    start_time: datetime | None,
    end_time: datetime | None,
    group_by: str | Sequence[str],
    tenant: str,
    key: str | Key | None,
    provider: str,
    model: str,
    session: str | Session | None,
    labels: Mapping[str, str],
    page_size: int,
) -> usage_pb2.QueryUsageRequest:
    """Query the first page of usage."""
    request = usage_pb2.QueryUsageRequest()
    if start_time is not None:
        request.start_time.CopyFrom(timestamp("start_time", start_time))
    if end_time is not None:
        request.end_time.CopyFrom(timestamp("end_time", end_time))
    with argument("group_by"):
        request.group_by.extend([group_by] if isinstance(group_by, str) else group_by)
    for name, value in (("tenant", tenant), ("provider", provider), ("model", model)):
        with argument(name):
            setattr(request.filter, name, value)
    if key is not None:
        request.filter.key = key_name(key)
    if session is not None:
        request.filter.session = session_name(session)
    with argument("labels"):
        request.filter.labels.update(labels)
    with argument("page_size"):
        request.page_size = page_size
    return request


def _fill(
    target: key_pb2.Key,
    *,
    display_name: str | Unset,
    scopes: Sequence[str] | Unset,
    models: Sequence[str] | Unset,
    limits: Limits | Unset | None,
    labels: Mapping[str, str] | Unset,
    expire_time: datetime | Unset | None,
) -> list[str]:
    """Set the fields that are given, and return their names."""
    paths = []
    if not isinstance(display_name, Unset):
        paths.append("display_name")
        with argument("display_name"):
            target.display_name = display_name
    if not isinstance(scopes, Unset):
        paths.append("scopes")
        with argument("scopes"):
            target.scopes.extend([scopes] if isinstance(scopes, str) else scopes)
    if not isinstance(models, Unset):
        paths.append("models")
        with argument("models"):
            target.models.extend([models] if isinstance(models, str) else models)
    if not isinstance(limits, Unset):
        paths.append("limits")
        if limits is not None:
            target.limits.CopyFrom(_limits(limits))
    if not isinstance(labels, Unset):
        paths.append("labels")
        with argument("labels"):
            target.labels.update(labels)
    if not isinstance(expire_time, Unset):
        paths.append("expire_time")
        if expire_time is not None:
            target.expire_time.CopyFrom(timestamp("expire_time", expire_time))
    return paths


def _limits(limits: Limits) -> key_pb2.Limits:
    if not isinstance(limits, Limits):
        raise TypeError(f"limits: expected Limits, not {type(limits).__name__}")
    result = key_pb2.Limits()
    for name in NUMBER_FIELDS:
        if (number := getattr(limits, name)) is not None:
            with argument(f"limits.{name}"):
                setattr(result, name, number)
    for name, field in COST_FIELDS.items():
        if (cost := getattr(limits, name)) is not None:
            with argument(f"limits.{name}"):
                setattr(result, field, _nanos(cost))
    if limits.window is not None:
        result.window.CopyFrom(duration("limits.window", limits.window))
    with argument("limits.currency"):
        result.currency = limits.currency
    return result


def _nanos(cost: Decimal | int) -> int:
    """A cost in billionths of its currency."""
    if isinstance(cost, bool) or not isinstance(cost, Decimal | int):
        raise TypeError(f"expected a Decimal or an int, not {cost!r}")
    nanos = Decimal(cost).scaleb(9)
    if nanos != nanos.to_integral_value():
        raise ValueError(f"{cost} has more than nine decimal places")
    return int(nanos)
