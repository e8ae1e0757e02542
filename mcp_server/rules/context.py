"""What a session's context may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_server.errors import InvalidArgument, Violation
from mcp_server.interfaces import ContextType
from mcp_server.rules.limits import CONTEXT_NAME, MAX_CONTEXT_BYTES, MAX_CONTEXT_ENTRIES, MAX_CONTEXT_NAME
from mcp_server.rules.message import mime_type
from mcp_server.rules.primitives import characters
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import ContextEntry


def context_name(found: Violations, field: str, name: str) -> None:
    """The name of a context entry."""
    if len(name) > MAX_CONTEXT_NAME:
        characters(found, field, name, MAX_CONTEXT_NAME)
    elif not CONTEXT_NAME.fullmatch(name):
        found.add(field, f"the name of a context entry must match {CONTEXT_NAME.pattern}")


def context_entries(
    found: Violations, field: str, entries: Mapping[str, ContextEntry], types: Mapping[str, ContextType]
) -> None:
    """Entries to keep, each valid by its type."""
    if len(entries) > MAX_CONTEXT_ENTRIES:
        found.add(field, f"must have at most {MAX_CONTEXT_ENTRIES} entries, not {len(entries)}")
        return
    for name, entry in entries.items():
        where = context_field(field, name)
        context_name(found, where, name)
        if entry.kind == "data" and not mime_type(found, f"{where}.data.mime_type", entry.mime_type):
            continue
        context_type = types.get(entry.type)
        if context_type is None:
            found.add(f"{where}.type", f"{shown(entry.type)} is not a known type; known: {', '.join(sorted(types))}")
        elif entry.kind not in ("text", "json", "data"):
            found.add(where, "must have a value: one of text, json and data")
        elif problem := context_type.validate(entry):
            found.add(where, problem)


def context_field(field: str, name: str) -> str:
    """The path of an entry."""
    return f"{field}[{shown(name)}]"


def check_context(context: Mapping[str, ContextEntry], field: str) -> None:
    """The limits of a session's whole context, as it is about to be stored.

    Raises:
        InvalidArgument: it has too many entries, or too many bytes.
    """
    if len(context) > MAX_CONTEXT_ENTRIES:
        problem = f"a session's context can have at most {MAX_CONTEXT_ENTRIES} entries; it would have {len(context)}"
        raise InvalidArgument([Violation(field=field, description=problem)])
    size = sum([len(name.encode()) + _entry_bytes(entry) for name, entry in context.items()])
    if size > MAX_CONTEXT_BYTES:
        problem = f"a session's context can have at most {MAX_CONTEXT_BYTES} bytes; it would have {size}"
        raise InvalidArgument([Violation(field=field, description=problem)])


def _entry_bytes(entry: ContextEntry) -> int:
    """About the size of an entry on the wire, where JSON takes more room than in a store."""
    return len(entry.text.encode()) + len(entry.data) + (_json_bytes(entry.json) if entry.kind == "json" else 0)


def _json_bytes(value: Any) -> int:
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, Mapping):
        return 8 + sum([16 + len(key.encode()) + _json_bytes(item) for key, item in value.items()])
    if isinstance(value, list):
        return 8 + sum([_json_bytes(item) for item in value])
    return 12
