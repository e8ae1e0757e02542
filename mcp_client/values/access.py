"""API keys, their limits, and who a caller is."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from mcp_client.values.options import Seconds


class KeyState(enum.StrEnum):
    """Whether an API key can be used."""

    ACTIVE = "active"
    REVOKED = "revoked"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """A state that this version of the client does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
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
    cost_per_day: Decimal | int | None = None
    """Cost per day (UTC), in ``currency``."""
    cost_per_month: Decimal | int | None = None
    """Cost per month (UTC), in ``currency``."""
    window: Seconds | None = None
    """The length of the rolling window of the next two limits: whole hours, 1 hour to 31 days."""
    tokens_per_window: int | None = None
    """Tokens within the window."""
    cost_per_window: Decimal | int | None = None
    """Cost within the window, in ``currency``."""
    currency: str = ""
    """An ISO 4217 code, required for a limit on costs. Costs in other currencies do not count."""
    concurrent_turns: int | None = None
    """Turns and embedding requests at a time, those that wait in a queue included."""
    sessions: int | None = None
    """Sessions that exist at a time."""
    stored_bytes: int | None = None
    """Bytes of messages and context that are stored at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key, without its secret."""

    name: str
    """``keys/{id}``."""
    display_name: str
    """A name for people."""
    tenant: str
    scopes: Sequence[str]
    """What the key may do: ``chat``, ``sessions.read``, ``sessions.write``, ``models``, ``usage``, ``admin``,
    ``operator``."""
    models: Sequence[str]
    """The models that the key may use, as patterns of ``provider/model``; empty: all."""
    limits: Limits
    """The limits of the key, which apply beside those of its tenant."""
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    expire_time: datetime | None
    """``None``: never."""
    revoke_time: datetime | None
    """``None``: the key was not revoked."""
    state: KeyState
    etag: str
    """Changes with every change of the key."""
    from_settings: bool
    """Whether the settings of the server define the key, which calls then cannot change."""

    @property
    def id(self) -> str:
        """The last segment of ``name``, which logs, metrics and usage name."""
        return self.name.removeprefix("keys/")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """An API key that was just created."""

    key: Key
    secret: str = field(repr=False)
    """What callers pass as ``api_key``. It cannot be read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One limit of a caller, and what is left of it."""

    subject: str
    """Whom it binds: ``tenants/{tenant}`` or ``keys/{key}``."""
    limit: str
    """The name of the field of :class:`Limits`."""
    allowed: int | Decimal
    """The most that is allowed. This and the next two are :class:`~decimal.Decimal` for costs."""
    used: int | Decimal
    """How much is used and held now: work that runs holds as much as it may use at most."""
    remaining: int | Decimal
    """How much may be used now."""
    reset_time: datetime | None
    """When more becomes available through the passing of time; ``None``: only ended work or deletion frees some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a caller is, and what the caller may do."""

    tenant: str
    key: str
    """``keys/{id}``; empty for a caller without an API key."""
    scopes: Sequence[str]
    models: Sequence[str]
    """The models that the caller may use, as patterns of ``provider/model``; empty: all."""
    limits: Sequence[LimitState]
    """Those of the tenant and those of the key."""
