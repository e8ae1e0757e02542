"""Decodes API keys, limits, callers and usage."""

from __future__ import annotations

from typing import Any, Final

from contextprotocol.v1 import key_pb2, usage_pb2
from mcp_client._core.requests.access import COST_FIELDS, NUMBER_FIELDS
from mcp_client._core.responses.messages import usage
from mcp_client._core.responses.scalars import cost, seconds, time
from mcp_client.errors import limit_name
from mcp_client.values import Caller, CreatedKey, Key, KeyState, Limits, LimitState, UsageRow

_KEY_STATES: Final = {
    key_pb2.Key.STATE_ACTIVE: KeyState.ACTIVE,
    key_pb2.Key.STATE_REVOKED: KeyState.REVOKED,
    key_pb2.Key.STATE_EXPIRED: KeyState.EXPIRED,
}


def key(value: key_pb2.Key) -> Key:
    """An API key."""
    return Key(
        name=value.name,
        display_name=value.display_name,
        tenant=value.tenant,
        scopes=tuple(value.scopes),
        models=tuple(value.models),
        limits=_limits(value.limits),
        labels=dict(value.labels),
        create_time=time(value.create_time),
        update_time=time(value.update_time),
        expire_time=time(value.expire_time) if value.HasField("expire_time") else None,
        revoke_time=time(value.revoke_time) if value.HasField("revoke_time") else None,
        state=_KEY_STATES.get(value.state, KeyState.UNKNOWN),
        etag=value.etag,
        from_settings=value.from_settings,
    )


def created_key(value: key_pb2.CreateKeyResponse) -> CreatedKey:
    """An API key that was just created."""
    return CreatedKey(key=key(value.key), secret=value.secret)


def caller(value: key_pb2.WhoAmIResponse) -> Caller:
    """Who the caller is."""
    return Caller(
        tenant=value.tenant,
        key=value.key,
        scopes=tuple(value.scopes),
        models=tuple(value.models),
        limits=tuple([_limit_state(state) for state in value.limits]),
    )


def usage_row(value: usage_pb2.UsageRow) -> UsageRow:
    """The usage of one group."""
    return UsageRow(
        group=dict(value.group),
        turns=value.turns,
        attempts=value.attempts,
        usage=usage(value.usage),
        cost=cost(value.cost_nanos),
        currency=value.currency,
    )


def _limits(value: key_pb2.Limits) -> Limits:
    found: dict[str, Any] = {name: getattr(value, name) for name in NUMBER_FIELDS if value.HasField(name)}
    found |= {name: cost(getattr(value, field)) for name, field in COST_FIELDS.items() if value.HasField(field)}
    window = seconds(value.window) if value.HasField("window") else None
    return Limits(**found, window=window, currency=value.currency)


def _limit_state(value: key_pb2.LimitState) -> LimitState:
    amount = cost if value.limit in COST_FIELDS.values() else int
    return LimitState(
        subject=value.subject,
        limit=limit_name(value.limit),
        allowed=amount(value.allowed),
        used=amount(value.used),
        remaining=amount(value.remaining),
        reset_time=time(value.reset_time) if value.HasField("reset_time") else None,
    )
