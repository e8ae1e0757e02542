"""Sessions and their context."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import struct_pb2

from contextprotocol.v1 import context_pb2, session_pb2
from mcp_server.api.encode.timestamp import duration, timestamp
from mcp_server.values import ContextEntry, MCPSession, Visibility, turn_name

_VISIBILITIES: Final = {
    Visibility.PROMPT: context_pb2.ContextEntry.VISIBILITY_PROMPT,
    Visibility.STORED: context_pb2.ContextEntry.VISIBILITY_STORED,
}


def session(value: MCPSession, *, brief: bool = False) -> session_pb2.Session:
    """A session; ``brief`` leaves out its context and metadata."""
    result = session_pb2.Session(
        name=value.name,
        uid=value.uid,
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
        ttl=duration(value.ttl) if value.ttl is not None else None,
        expire_time=timestamp(value.expire_time) if value.expire_time is not None else None,
        etag=value.etag,
        labels=value.labels,
        system_instruction=value.system_instruction,
        default_model=value.default_model,
        message_count=value.message_count,
        active_turn=turn_name(value.id, value.claim) if value.claim else "",
        parent=f"sessions/{value.parent}" if value.parent else "",
    )
    if not brief:
        for name, entry in value.context.items():
            _context_entry(entry, result.context[name])
        if value.metadata:
            for key, item in value.metadata.items():
                _value(item, result.metadata.fields[key])
    return result


def _context_entry(entry: ContextEntry, into: context_pb2.ContextEntry) -> None:
    into.type = entry.type
    into.visibility = _VISIBILITIES[entry.visibility]
    if entry.kind == "text":
        into.text = entry.text
    elif entry.kind == "json":
        _value(entry.json, into.json)
    else:
        into.data.mime_type = entry.mime_type
        into.data.content = entry.data


def _value(value: Any, into: struct_pb2.Value) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        into.number_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, dict):
        into.struct_value.SetInParent()
        for key, item in value.items():
            _value(item, into.struct_value.fields[key])
    else:
        into.list_value.SetInParent()
        for item in value:
            _value(item, into.list_value.values.add())
