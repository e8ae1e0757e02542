"""What a caller may decide about a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_server.interfaces import ContextType
from mcp_server.rules.context import context_entries, context_name
from mcp_server.rules.limits import (
    CONTEXT_NAME,
    LABEL_KEY,
    MAX_CONTEXT_ENTRIES,
    MAX_LABEL,
    MAX_LABEL_KEY,
    MAX_LABELS,
    MAX_SESSION_ID,
    MAX_SYSTEM_INSTRUCTION_BYTES,
    MAX_TTL,
    MIN_TTL,
    SESSION_ID,
    SESSION_ID_RULE,
)
from mcp_server.rules.primitives import characters, duration, expected_etag, json_object, model_name, utf8_bytes
from mcp_server.rules.violations import Violations, shown
from mcp_server.values import SessionDraft, SessionUpdate

SESSION_FIELDS: Final = SessionDraft.__struct_fields__
"""The fields of a session that callers set."""


def session_id(found: Violations, chosen: str) -> None:
    """The id that a caller chooses; an empty one lets the server choose."""
    if len(chosen) > MAX_SESSION_ID:
        characters(found, "session_id", chosen, MAX_SESSION_ID)
    elif chosen and not SESSION_ID.fullmatch(chosen):
        found.add("session_id", f"{shown(chosen)} is not a valid session id: must be {SESSION_ID_RULE}")


def session_draft(found: Violations, draft: SessionDraft, types: Mapping[str, ContextType]) -> None:
    """A new session."""
    for name in SESSION_FIELDS:
        _session_field(found, name, getattr(draft, name), types)


def session_update(found: Violations, update: SessionUpdate, types: Mapping[str, ContextType]) -> None:
    """A change to a session."""
    expected_etag(found, "session.etag", update.etag)
    if "context" in update.fields and (update.set_context or update.remove_context):
        found.add("update_mask", "context cannot be combined with set_context or remove_context")
    if not (update.fields or update.set_context or update.remove_context):
        found.add(
            "update_mask",
            f"must name at least one field of {', '.join(SESSION_FIELDS)}, unless set_context or remove_context is set",
        )
    for name, value in update.fields.items():
        _session_field(found, name, value, types)
    context_entries(found, "set_context", update.set_context, types)
    if len(update.remove_context) > MAX_CONTEXT_ENTRIES:
        problem = f"must have at most {MAX_CONTEXT_ENTRIES} names, not {len(update.remove_context)}"
        found.add("remove_context", problem)
        return
    for index, name in enumerate(update.remove_context):
        if not CONTEXT_NAME.fullmatch(name):
            context_name(found, f"remove_context[{index}]", name)


def instruction(found: Violations, field: str, text: str) -> None:
    """What precedes a conversation in its prompts."""
    utf8_bytes(found, field, text, MAX_SYSTEM_INSTRUCTION_BYTES)


def labels(found: Violations, field: str, given: Mapping[str, str], most: int = MAX_LABELS) -> None:
    """Short facts about a session or a call, at most ``most``."""
    if len(given) > most:
        found.add(field, f"must have at most {most} labels, not {len(given)}")
        return
    for key, value in given.items():
        if len(key) > MAX_LABEL_KEY:
            characters(found, f"{field}[{shown(key)}]", key, MAX_LABEL_KEY)
        elif not LABEL_KEY.fullmatch(key):
            found.add(f"{field}[{shown(key)}]", f"the key must match {LABEL_KEY.pattern}")
        if len(value) > MAX_LABEL:
            characters(found, f"{field}[{shown(key)}]", value, MAX_LABEL)


def _session_field(found: Violations, name: str, value: Any, types: Mapping[str, ContextType]) -> None:
    field = f"session.{name}"
    if name == "context":
        context_entries(found, field, value, types)
    elif value is not None:
        _RULES[name](found, field, value)


_RULES: Final[dict[str, Callable[[Violations, str, Any], None]]] = {
    "ttl": lambda found, field, value: duration(found, field, value, MIN_TTL, MAX_TTL),
    "labels": labels,
    "metadata": json_object,
    "system_instruction": instruction,
    "default_model": model_name,
}
