"""Parameters that are refused, forwarded, or the same in every API of the HTTP edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mcp_server.gateway import TurnOptions
from mcp_server.rules import Violations
from mcp_server.values import GenerationConfig, OnCut, OnDisconnect
from mcp_server.web.exchange import Exchange

IDEMPOTENCY_KEY: Final = "idempotency-key"
"""The header with which a request can be sent again: it is carried out once."""


def request_id(exchange: Exchange) -> str:
    """The caller's key for retries, or empty."""
    return exchange.request.headers.get(IDEMPOTENCY_KEY, "")


def turn_options(
    *,
    key: str,
    streams: bool,
    model: str,
    config: GenerationConfig,
    provider_options: Mapping[str, Any],
    labels: Mapping[str, str],
    retain: bool = True,
) -> TurnOptions:
    """The options of a turn that answers one request.

    Args:
        key: the caller's key for retries, or empty.
        streams: whether the answer is streamed.
        model, config, provider_options, labels, retain: those of the request.
    """
    return TurnOptions(
        model=model,
        config=config,
        provider_options=provider_options,
        labels=labels,
        retain=retain,
        request_id=key,
        # What was sent cannot be taken back: another model goes on, or the answer fails.
        on_cut=OnCut.CONTINUE_OR_FAIL if streams else None,
        # Without a key nobody can come back to it.
        on_disconnect=OnDisconnect.CANCEL_AFTER_GRACE if key else OnDisconnect.CANCEL,
    )


def refuse_set(found: Violations, **values: Any) -> None:
    """Refuse parameters that are set and that this server does not support: its caller would rely on them."""
    for name, value in values.items():
        if value is not None:
            found.add(name, "is not supported by this server: leave it out")


def require(found: Violations, field: str, value: Any, *allowed: Any) -> None:
    """Refuse a parameter unless it is unset, or one of the values that change nothing."""
    if value is not None and value not in allowed:
        texts = " or ".join([msgspec.json.encode(one).decode() for one in allowed])
        found.add(field, f"must be {texts}: this server supports no other value")


def forwarded(**values: Any) -> dict[str, Any]:
    """Parameters that go to the provider as they are, which refuses those that it does not know."""
    return {name: value for name, value in values.items() if value is not None}


def raw_text(raw: msgspec.Raw) -> str:
    """JSON as it was sent; empty for ``null`` and for nothing."""
    text = bytes(raw).decode().strip()
    return "" if text == "null" else text
