"""The API keys that stand in the settings."""

from __future__ import annotations

from mcp_server.accounts import limits_of
from mcp_server.settings import Config
from mcp_server.settings.auth import parse_hash, parse_time
from mcp_server.values import NO_LIMITS, Key


def settings_keys(settings: Config) -> dict[str, Key]:
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
            limits=limits_of(settings.limits[key.limits]) if key.limits else NO_LIMITS,
            expire_time=parse_time(key.expire_time) if key.expire_time is not None else None,
            from_settings=True,
        )
        for key_id, key in settings.auth.keys.items()
    }
