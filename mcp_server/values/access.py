"""API keys, and the limits of what may be used."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from mcp_server.values.base import Struct

SCOPES: Final = ("chat", "sessions.read", "sessions.write", "models", "usage", "admin", "operator")
"""All scopes. ``operator`` sees every tenant; the others work within their own."""


class Limits(Struct):
    """How much may be used. A limit that is ``None`` does not apply."""

    requests_per_minute: int | None = None
    """Calls per minute that generate or compute embeddings."""
    request_burst: int | None = None
    """How many of them may be made at once after a pause; ``None``: as ``requests_per_minute``."""
    tokens_per_minute: int | None = None
    """Tokens per minute, of prompts and answers together."""
    token_burst: int | None = None
    """How many tokens may be used at once after a pause; ``None``: as ``tokens_per_minute``."""
    tokens_per_day: int | None = None
    """Tokens per day (UTC)."""
    tokens_per_month: int | None = None
    """Tokens per month (UTC)."""
    cost_nanos_per_day: int | None = None
    """Cost per day (UTC), in billionths of ``currency``."""
    cost_nanos_per_month: int | None = None
    """Cost per month (UTC), in billionths of ``currency``."""
    window: int | None = None
    """The length of the rolling window of the next two limits, in nanoseconds: whole hours."""
    tokens_per_window: int | None = None
    """Tokens within the window."""
    cost_nanos_per_window: int | None = None
    """Cost within the window, in billionths of ``currency``."""
    currency: str = ""
    """The currency of the costs, an ISO 4217 code; costs in other currencies do not count."""
    concurrent_turns: int | None = None
    """Turns and embedding requests at a time, waiting ones included."""
    sessions: int | None = None
    """Sessions that exist at a time."""
    stored_bytes: int | None = None
    """Bytes of messages and context that are stored at a time."""


MAX_AHEAD: Final = 10**18
"""How far ahead a limit per minute can be used up, in nanoseconds: some 30 years. Times are stored in 64 bits."""
NO_LIMITS: Final = Limits()
"""Nothing is limited."""


class KeyState(Enum):
    """Whether an API key can be used."""

    ACTIVE = "active"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Key(Struct):
    """An API key, as it is stored."""

    id: str
    """The public id: 12 characters, ``[a-z0-9]``."""
    tenant: str
    """The tenant that it belongs to."""
    secret_hash: bytes
    """The SHA-256 of the whole secret, as callers send it."""
    create_time: int
    """When it was created."""
    update_time: int
    """When it was changed last."""
    etag: str = ""
    """Changes with every change of the key."""
    display_name: str = ""
    """A name for people."""
    scopes: tuple[str, ...] = ()
    """What it may do: some of :data:`SCOPES`."""
    models: tuple[str, ...] = ()
    """The models that it may use, as patterns of ``provider/model`` with ``*``; empty: all."""
    limits: Limits = NO_LIMITS
    """Its limits, which apply beside those of its tenant."""
    labels: Mapping[str, str] = {}
    """Labels."""
    expire_time: int | None = None
    """When it expires; ``None``: never."""
    revoke_time: int | None = None
    """When it was revoked; ``None``: it was not."""
    from_settings: bool = False
    """Whether it stands in the settings of the server instead of in the store."""

    @property
    def name(self) -> str:
        """The full resource name."""
        return f"keys/{self.id}"

    def state(self, now: int) -> KeyState:
        """Whether it can be used at that time."""
        if self.revoke_time is not None:
            return KeyState.REVOKED
        return KeyState.EXPIRED if self.expire_time is not None and self.expire_time <= now else KeyState.ACTIVE


class KeyDraft(Struct):
    """What its creator decides about an API key; the fields are those of :class:`Key`."""

    display_name: str = ""
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limits: Limits = NO_LIMITS
    labels: Mapping[str, str] = {}
    expire_time: int | None = None


class KeyUpdate(Struct):
    """A change to an API key."""

    fields: Mapping[str, Any]
    """The new values, by the names of the fields of :class:`KeyDraft`."""
    etag: str = ""
    """The etag that the key must have; empty: any."""


class Hold(Struct):
    """What a turn or an embedding request may still use at most. It counts as used until the work has ended."""

    id: str
    """The id of the turn, or one of its own for an embedding request."""
    tenant: str
    """The tenant."""
    expire_time: int
    """When it is void: later than the latest end of the work."""
    key: str = ""
    """The id of the API key, or empty."""
    tokens: int = 0
    """The most tokens."""
    cost_nanos: int = 0
    """The highest cost, in billionths of ``currency``."""
    currency: str = ""
    """An ISO 4217 code, or empty."""
    token_rates: Mapping[str, int] = {}
    """The tokens per minute that bind it: by the id of the key, and of the tenant by an empty one."""


class LimitState(Struct):
    """One limit, and what is left of it."""

    subject: str
    """Whom it binds: ``tenants/{tenant}`` or ``keys/{key}``."""
    limit: str
    """The name of the field of :class:`Limits`."""
    allowed: int
    """The most that is allowed."""
    used: int
    """How much is used and held now."""
    reset_time: int | None = None
    """When more becomes available through the passing of time; ``None``: only ended work or deletion frees some."""

    @property
    def remaining(self) -> int:
        """How much may be used now."""
        return max(self.allowed - self.used, 0)
