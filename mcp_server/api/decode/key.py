"""API keys and their limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from contextprotocol.v1 import key_pb2
from mcp_server.api.decode.session import labels
from mcp_server.rules import KEY_FIELDS, Violations, shown
from mcp_server.rules.limits import MAX_MASK_PATHS, MAX_MODEL_PATTERNS
from mcp_server.values import SCOPES, SECOND, KeyDraft, KeyUpdate, Limits


def key_draft(found: Violations, key: key_pb2.Key) -> KeyDraft:
    """The fields of a key that its creator decides about."""
    return KeyDraft(**{field: decode(found, key) for field, decode in _FIELDS.items()})


def key_update(found: Violations, request: key_pb2.UpdateKeyRequest) -> KeyUpdate:
    """The change to a key: the fields that its mask names."""
    fields = {}
    if (count := len(request.update_mask.paths)) > MAX_MASK_PATHS:
        found.add("update_mask", f"must have at most {MAX_MASK_PATHS} paths, not {count}")
        return KeyUpdate(fields={})
    for path in dict.fromkeys(request.update_mask.paths):
        if path in _FIELDS:
            fields[path] = _FIELDS[path](found, request.key)
        else:
            found.add("update_mask", f"{shown(path)} cannot be updated; allowed: {', '.join(KEY_FIELDS)}")
    return KeyUpdate(fields=fields, etag=request.key.etag)


def _texts(found: Violations, field: str, texts: Sequence[str], most: int) -> tuple[str, ...]:
    if len(texts) > most:
        found.add(field, f"must have at most {most} entries, not {len(texts)}")
        return ()
    return tuple(texts)


def _limits(found: Violations, key: key_pb2.Key) -> Limits:
    limits = key.limits
    values: dict[str, Any] = {
        name: getattr(limits, name)
        for name in Limits.__struct_fields__
        if name not in ("window", "currency") and limits.HasField(name)
    }
    if limits.HasField("window"):
        values["window"] = limits.window.seconds * SECOND + limits.window.nanos
    return Limits(currency=limits.currency, **values)


def _expire_time(found: Violations, key: key_pb2.Key) -> int | None:
    if not key.HasField("expire_time"):
        return None
    return key.expire_time.seconds * SECOND + key.expire_time.nanos


_FIELDS: Final[dict[str, Callable[[Violations, key_pb2.Key], Any]]] = {
    "display_name": lambda found, key: key.display_name,
    "scopes": lambda found, key: _texts(found, "key.scopes", key.scopes, len(SCOPES)),
    "models": lambda found, key: _texts(found, "key.models", key.models, MAX_MODEL_PATTERNS),
    "limits": _limits,
    "labels": lambda found, key: labels(found, "key.labels", key.labels),
    "expire_time": _expire_time,
}
"""How each field that callers set is converted."""
