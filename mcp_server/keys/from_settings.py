"""The API keys that stand in the settings."""

from __future__ import annotations

from mcp_server.settings.auth import AuthSettings, LimitSettings, parse_hash, parse_time
from mcp_server.values import HOUR, Key, Limits

_NANOS: int = 1_000_000_000


def settings_keys(settings: AuthSettings) -> dict[str, Key]:
    """The keys of the settings, by id."""
    return {
        key_id: Key(
            id=key_id,
            tenant=key.tenant,
            secret_hash=parse_hash(key.hash),
            create_time=0,
            update_time=0,
            display_name=key.display_name,
            scopes=key.scopes,
            models=key.models,
            limits=limits_of(key.limits),
            expire_time=parse_time(key.expire_time) if key.expire_time is not None else None,
            from_settings=True,
        )
        for key_id, key in settings.keys.items()
    }


def limits_of(settings: LimitSettings) -> Limits:
    """The limits of a table."""
    costs = settings.cost_per_day, settings.cost_per_month, settings.cost_per_window
    per_day, per_month, per_window = [None if cost is None else round(cost * _NANOS) for cost in costs]
    return Limits(
        requests_per_minute=settings.requests_per_minute,
        request_burst=settings.request_burst,
        tokens_per_minute=settings.tokens_per_minute,
        token_burst=settings.token_burst,
        tokens_per_day=settings.tokens_per_day,
        tokens_per_month=settings.tokens_per_month,
        cost_nanos_per_day=per_day,
        cost_nanos_per_month=per_month,
        window=settings.window_hours * HOUR if settings.window_hours is not None else None,
        tokens_per_window=settings.tokens_per_window,
        cost_nanos_per_window=per_window,
        currency=settings.currency if any(cost is not None for cost in costs) else "",
        concurrent_turns=settings.concurrent_turns,
        sessions=settings.sessions,
        stored_bytes=settings.stored_bytes,
    )
