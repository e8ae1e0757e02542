"""Sessions and their context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from contextprotocol.v1 import context_pb2, session_pb2
from mcp_server.api.decode.json_value import json_object, json_value
from mcp_server.rules import SESSION_FIELDS, Violations, context_field, shown
from mcp_server.rules.limits import MAX_CONTEXT_BYTES, MAX_CONTEXT_ENTRIES, MAX_LABELS, MAX_MASK_PATHS
from mcp_server.values import SECOND, ContextEntry, SessionDraft, SessionUpdate, Visibility

_VISIBILITIES: Final = {
    context_pb2.ContextEntry.VISIBILITY_UNSPECIFIED: Visibility.PROMPT,
    context_pb2.ContextEntry.VISIBILITY_PROMPT: Visibility.PROMPT,
    context_pb2.ContextEntry.VISIBILITY_STORED: Visibility.STORED,
}
_TOO_LARGE: Final = {"": ContextEntry(type="", kind="")}
"""Stands for entries that are not converted."""


def session_draft(found: Violations, session: session_pb2.Session) -> SessionDraft:
    """The fields of a session that callers set."""
    return SessionDraft(**{field: decode(found, session) for field, decode in _FIELDS.items()})


def session_update(found: Violations, request: session_pb2.UpdateSessionRequest) -> SessionUpdate:
    """The change to a session: the fields that its mask names, and entries to set and to remove."""
    fields = {}
    if (count := len(request.update_mask.paths)) > MAX_MASK_PATHS:
        found.add("update_mask", f"must have at most {MAX_MASK_PATHS} paths, not {count}")
        return SessionUpdate()
    for path in dict.fromkeys(request.update_mask.paths):
        if path in _FIELDS:
            fields[path] = _FIELDS[path](found, request.session)
        else:
            found.add("update_mask", f"{shown(path)} cannot be updated; allowed: {', '.join(SESSION_FIELDS)}")
    return SessionUpdate(
        fields=fields,
        set_context=_context(found, "set_context", request.set_context),
        remove_context=_names(found, request.remove_context),
        etag=request.session.etag,
    )


def _ttl(found: Violations, session: session_pb2.Session) -> int | None:
    return session.ttl.seconds * SECOND + session.ttl.nanos if session.HasField("ttl") else None


def _context(
    found: Violations, field: str, entries: Mapping[str, context_pb2.ContextEntry]
) -> Mapping[str, ContextEntry]:
    if len(entries) > MAX_CONTEXT_ENTRIES:
        found.add(field, f"must have at most {MAX_CONTEXT_ENTRIES} entries, not {len(entries)}")
        return _TOO_LARGE
    sizes = [entry.ByteSize() for entry in entries.values()]
    if max(sizes, default=0) <= MAX_CONTEXT_BYTES < (size := sum(sizes)):
        found.add(field, f"a session's context can have at most {MAX_CONTEXT_BYTES} bytes; these entries have {size}")
        return _TOO_LARGE
    return {name: _entry(found, context_field(field, name), entry) for name, entry in entries.items()}


def _names(found: Violations, names: Sequence[str]) -> tuple[str, ...]:
    """The names of context entries to remove."""
    if len(names) > MAX_CONTEXT_ENTRIES:
        found.add("remove_context", f"must have at most {MAX_CONTEXT_ENTRIES} names, not {len(names)}")
        return tuple(_TOO_LARGE)
    return tuple(names)


def labels(found: Violations, field: str, given: Mapping[str, str], most: int = MAX_LABELS) -> dict[str, str]:
    """Labels of a session or a call, or to find sessions by; more than ``most`` are not converted."""
    if len(given) > most:
        found.add(field, f"must have at most {most} labels, not {len(given)}")
        return {}
    return dict(given)


def _entry(found: Violations, field: str, given: context_pb2.ContextEntry) -> ContextEntry:
    if (size := given.ByteSize()) > MAX_CONTEXT_BYTES:
        found.add(field, f"a session's context can have at most {MAX_CONTEXT_BYTES} bytes; this entry has {size}")
        return ContextEntry(type=given.type, kind="")
    visibility = _VISIBILITIES.get(given.visibility)
    if visibility is None:
        found.add(f"{field}.visibility", f"{given.visibility} is not a value of Visibility")
        visibility = Visibility.PROMPT
    kind = given.WhichOneof("value") or ""
    return ContextEntry(
        type=given.type,
        kind=kind,
        text=given.text,
        json=json_value(found, f"{field}.json", given.json) if kind == "json" else None,
        data=given.data.content,
        mime_type=given.data.mime_type,
        visibility=visibility,
    )


_FIELDS: Final[dict[str, Callable[[Violations, session_pb2.Session], Any]]] = {
    "ttl": _ttl,
    "labels": lambda found, session: labels(found, "session.labels", session.labels),
    "metadata": lambda found, session: json_object(found, "session.metadata", session.metadata),
    "system_instruction": lambda found, session: session.system_instruction,
    "default_model": lambda found, session: session.default_model,
    "context": lambda found, session: _context(found, "session.context", session.context),
}
"""How each field that callers set is converted."""
