"""Decodes sessions."""

from __future__ import annotations

from contextprotocol.v1 import context_pb2, session_pb2
from mcp_client._core.responses.scalars import json, seconds, time
from mcp_client.values import ContextEntry, Session
from mcp_client.values.session import LEFT_OUT


def session(value: session_pb2.Session, *, complete: bool = True) -> Session:
    """A session.

    Args:
        value: as it was received.
        complete: whether the response contains the metadata and the context.
    """
    return Session(
        name=value.name,
        uid=value.uid,
        create_time=time(value.create_time),
        update_time=time(value.update_time),
        etag=value.etag,
        ttl=seconds(value.ttl) if value.HasField("ttl") else None,
        expire_time=time(value.expire_time) if value.HasField("expire_time") else None,
        labels=dict(value.labels),
        metadata={key: json(item) for key, item in value.metadata.fields.items()} if complete else LEFT_OUT,
        system_instruction=value.system_instruction,
        default_model=value.default_model,
        context={name: _context_entry(entry) for name, entry in value.context.items()} if complete else LEFT_OUT,
        message_count=value.message_count,
        active_turn=value.active_turn,
        parent=value.parent,
    )


def _context_entry(value: context_pb2.ContextEntry) -> ContextEntry:
    kind = value.WhichOneof("value")
    return ContextEntry(
        type=value.type,
        text=value.text if kind == "text" else None,
        json=json(value.json) if kind == "json" else None,
        data=value.data.content if kind == "data" else None,
        mime_type=value.data.mime_type,
        stored_only=value.visibility == context_pb2.ContextEntry.VISIBILITY_STORED,
    )
