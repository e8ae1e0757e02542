"""API keys and their limits."""

from __future__ import annotations

from typing import Final

from contextprotocol.v1 import key_pb2
from mcp_server.api.encode.timestamp import duration, timestamp
from mcp_server.values import NO_LIMITS, Key, KeyState, Limits, LimitState

_STATES: Final = {
    KeyState.ACTIVE: key_pb2.Key.STATE_ACTIVE,
    KeyState.REVOKED: key_pb2.Key.STATE_REVOKED,
    KeyState.EXPIRED: key_pb2.Key.STATE_EXPIRED,
}


def key(value: Key, now: int) -> key_pb2.Key:
    """A key, without anything of its secret. A key of the settings has no times of creation and change."""
    return key_pb2.Key(
        name=value.name,
        display_name=value.display_name,
        tenant=value.tenant,
        scopes=value.scopes,
        models=value.models,
        limits=_limits(value.limits) if value.limits != NO_LIMITS else None,
        labels=value.labels,
        create_time=timestamp(value.create_time) if value.create_time else None,
        update_time=timestamp(value.update_time) if value.update_time else None,
        expire_time=timestamp(value.expire_time) if value.expire_time is not None else None,
        revoke_time=timestamp(value.revoke_time) if value.revoke_time is not None else None,
        state=_STATES[value.state(now)],
        etag=value.etag,
        from_settings=value.from_settings,
    )


def _limits(value: Limits) -> key_pb2.Limits:
    result = key_pb2.Limits(currency=value.currency)
    for name in Limits.__struct_fields__:
        amount = getattr(value, name)
        if name == "window" and amount is not None:
            result.window.CopyFrom(duration(amount))
        elif name not in ("window", "currency") and amount is not None:
            setattr(result, name, amount)
    return result


def limit_state(value: LimitState) -> key_pb2.LimitState:
    """One limit, and what is left of it."""
    return key_pb2.LimitState(
        subject=value.subject,
        limit=value.limit,
        allowed=value.allowed,
        used=value.used,
        remaining=value.remaining,
        reset_time=timestamp(value.reset_time) if value.reset_time is not None else None,
    )
