"""What a caller may decide about an API key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mcp_server.rules.limits import (
    CURRENCY,
    MAX_AMOUNT,
    MAX_DISPLAY_NAME,
    MAX_MODEL_PATTERNS,
    MAX_TIME,
    MAX_WINDOW,
    MIN_WINDOW,
    MODEL_PATTERN,
    TENANT,
    TENANT_RULE,
)
from mcp_server.rules.primitives import characters, duration, expected_etag, whole
from mcp_server.rules.session import labels
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import SCOPES, KeyDraft, KeyUpdate, Limits

KEY_FIELDS: Final = KeyDraft.__struct_fields__
"""The fields of an API key that callers set."""
AMOUNTS: Final = tuple(name for name in Limits.__struct_fields__ if name not in ("window", "currency"))
"""The fields of limits that say how much is allowed."""
BURSTS: Final = {"request_burst": "requests_per_minute", "token_burst": "tokens_per_minute"}
"""Limits that are another one unless they are set."""
_AT_LEAST_ONE: Final = (
    "requests_per_minute",
    "request_burst",
    "tokens_per_minute",
    "token_burst",
    "concurrent_turns",
)
"""Limits of which 0 would mean that nothing works; others may be 0, so that a key can be stopped for a while."""
_NEEDS: Final = {
    **BURSTS,
    "tokens_per_window": "window",
    "cost_nanos_per_window": "window",
}
"""Limits that have no effect unless another field is set."""
_COSTS: Final = ("cost_nanos_per_day", "cost_nanos_per_month", "cost_nanos_per_window")


def tenant_name(found: Violations, field: str, tenant: str) -> None:
    """The name of a tenant; an empty one stands for the caller's own."""
    if tenant and not TENANT.fullmatch(tenant):
        found.add(field, f"{shown(tenant)} is not a valid tenant: must be {TENANT_RULE}")


def key_draft(found: Violations, draft: KeyDraft) -> None:
    """A new key."""
    for name in KEY_FIELDS:
        _RULES[name](found, f"key.{name}", getattr(draft, name))


def key_update(found: Violations, update: KeyUpdate) -> None:
    """A change to a key."""
    expected_etag(found, "key.etag", update.etag)
    if not update.fields:
        found.add("update_mask", f"must name at least one field of {', '.join(KEY_FIELDS)}")
    for name, value in update.fields.items():
        _RULES[name](found, f"key.{name}", value)


def _scopes(found: Violations, field: str, scopes: Sequence[str]) -> None:
    if not scopes:
        found.add(field, f"must name at least one of {', '.join(SCOPES)}")
    for index, scope in enumerate(scopes[: len(SCOPES) + 1]):
        if scope not in SCOPES:
            found.add(f"{field}[{index}]", f"{shown(scope)} is not a scope; allowed: {', '.join(SCOPES)}")
    if len(set(scopes)) < len(scopes):
        found.add(field, "must not name a scope twice")


def _models(found: Violations, field: str, patterns: Sequence[str]) -> None:
    if len(patterns) > MAX_MODEL_PATTERNS:
        found.add(field, f"must have at most {MAX_MODEL_PATTERNS} patterns, not {len(patterns)}")
        return
    for index, pattern in enumerate(patterns):
        if not MODEL_PATTERN.fullmatch(pattern):
            found.add(
                f"{field}[{index}]",
                f"{shown(pattern)} is not a valid pattern: must be 1 to 256 characters without spaces, of the form "
                "provider/model with * for any text",
            )


def _limits(found: Violations, field: str, limits: Limits) -> None:
    for name in AMOUNTS:
        amount = getattr(limits, name)
        if amount is not None:
            whole(found, f"{field}.{name}", amount, 1 if name in _AT_LEAST_ONE else 0, MAX_AMOUNT)
            needed = _NEEDS.get(name)
            if needed is not None and getattr(limits, needed) is None:
                found.add(f"{field}.{name}", f"requires {needed}, which is not set")
            if name in _COSTS and not limits.currency:
                found.add(f"{field}.{name}", "requires currency, which is not set")
    if limits.window is not None:
        duration(found, f"{field}.window", limits.window, MIN_WINDOW, MAX_WINDOW)
        if limits.window % MIN_WINDOW:
            found.add(f"{field}.window", "must be whole hours")
    if limits.currency and not CURRENCY.fullmatch(limits.currency):
        found.add(f"{field}.currency", f"{shown(limits.currency)} is not an ISO 4217 code such as USD")


def _expire_time(found: Violations, field: str, time: int | None) -> None:
    if time is not None and not 0 < time <= MAX_TIME:
        found.add(field, "must be between 1970 and 2200")


_RULES: Final[dict[str, Callable[[Violations, str, Any], None]]] = {
    "display_name": lambda found, field, value: characters(found, field, value, MAX_DISPLAY_NAME),
    "scopes": _scopes,
    "models": _models,
    "limits": _limits,
    "labels": labels,
    "expire_time": _expire_time,
}
