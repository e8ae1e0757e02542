"""Requests of the session service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contextprotocol.v1 import context_pb2, session_pb2
from mcp_client._core.arguments import Unset, argument, duration, fill_json, struct
from mcp_client._core.requests.messages import Input, messages
from mcp_client._core.requests.names import session_name, set_request_id
from mcp_client.values import ContextEntry, Seconds, Session

Context = Mapping[str, "ContextEntry | str"]
"""Context entries by name; a text is an entry of the type ``text``."""


def create_session(
    *,
    session_id: str,
    labels: Mapping[str, str],
    metadata: Mapping[str, Any],
    system_instruction: str,
    default_model: str,
    context_entries: Context,
    ttl: Seconds | None,
    request_id: str,
) -> session_pb2.CreateSessionRequest:
    """Create a session."""
    request = session_pb2.CreateSessionRequest()
    set_request_id(request, request_id)
    with argument("session_id"):
        request.session_id = session_id
    session = request.session
    with argument("labels"):
        session.labels.update(labels)
    if metadata:
        session.metadata.CopyFrom(struct("metadata", metadata))
    with argument("system_instruction"):
        session.system_instruction = system_instruction
    with argument("default_model"):
        session.default_model = default_model
    for name, entry in context("context", context_entries).items():
        session.context[name].CopyFrom(entry)
    if ttl is not None:
        session.ttl.CopyFrom(duration("ttl", ttl))
    return request


def update_session(
    session: str | Session,
    *,
    labels: Mapping[str, str] | Unset,
    metadata: Mapping[str, Any] | Unset,
    system_instruction: str | Unset,
    default_model: str | Unset,
    ttl: Seconds | Unset | None,
    context_entries: Context | Unset,
    set_context: Context,
    remove_context: Sequence[str],
    etag: str,
) -> session_pb2.UpdateSessionRequest:
    """Update the fields of a session that are given."""
    request = session_pb2.UpdateSessionRequest()
    target, paths = request.session, request.update_mask.paths
    target.name = session_name(session)
    with argument("etag"):
        target.etag = etag
    if not isinstance(labels, Unset):
        paths.append("labels")
        with argument("labels"):
            target.labels.update(labels)
    if not isinstance(metadata, Unset):
        paths.append("metadata")
        target.metadata.CopyFrom(struct("metadata", metadata))
    if not isinstance(system_instruction, Unset):
        paths.append("system_instruction")
        with argument("system_instruction"):
            target.system_instruction = system_instruction
    if not isinstance(default_model, Unset):
        paths.append("default_model")
        with argument("default_model"):
            target.default_model = default_model
    if not isinstance(ttl, Unset):
        paths.append("ttl")
        if ttl is not None:
            target.ttl.CopyFrom(duration("ttl", ttl))
    if not isinstance(context_entries, Unset):
        paths.append("context")
        for name, entry in context("context", context_entries).items():
            target.context[name].CopyFrom(entry)
    for name, entry in context("set_context", set_context).items():
        request.set_context[name].CopyFrom(entry)
    with argument("remove_context"):
        request.remove_context.extend([remove_context] if isinstance(remove_context, str) else remove_context)
    return request


def delete_session(session: str | Session, etag: str) -> session_pb2.DeleteSessionRequest:
    """Delete a session."""
    with argument("etag"):
        return session_pb2.DeleteSessionRequest(name=session_name(session), etag=etag)


def fork_session(
    session: str | Session, *, session_id: str, message_count: int | None, request_id: str
) -> session_pb2.ForkSessionRequest:
    """Fork a session."""
    request = session_pb2.ForkSessionRequest(name=session_name(session))
    with argument("session_id"):
        request.session_id = session_id
    if message_count is not None:
        with argument("message_count"):
            request.message_count = message_count
    set_request_id(request, request_id)
    return request


def rewind_session(
    session: str | Session, message_count: int, *, etag: str, request_id: str
) -> session_pb2.RewindSessionRequest:
    """Rewind a session."""
    request = session_pb2.RewindSessionRequest(name=session_name(session))
    with argument("message_count"):
        request.message_count = message_count
    with argument("etag"):
        request.etag = etag
    set_request_id(request, request_id)
    return request


def watch_session(session: str | Session) -> session_pb2.WatchSessionRequest:
    """Watch a session."""
    return session_pb2.WatchSessionRequest(name=session_name(session))


def list_sessions(labels: Mapping[str, str], *, newest_first: bool, page_size: int) -> session_pb2.ListSessionsRequest:
    """List the first page of sessions."""
    request = session_pb2.ListSessionsRequest(newest_first=newest_first)
    with argument("labels"):
        request.labels.update(labels)
    with argument("page_size"):
        request.page_size = page_size
    return request


def list_messages(session: str | Session, *, newest_first: bool, page_size: int) -> session_pb2.ListMessagesRequest:
    """List the first page of messages."""
    request = session_pb2.ListMessagesRequest(parent=session_name(session), newest_first=newest_first)
    with argument("page_size"):
        request.page_size = page_size
    return request


def append_messages(
    session: str | Session, new: Input, *, etag: str, request_id: str
) -> session_pb2.AppendMessagesRequest:
    """Append messages to the history."""
    request = session_pb2.AppendMessagesRequest(parent=session_name(session), messages=messages(new))
    with argument("etag"):
        request.etag = etag
    set_request_id(request, request_id)
    return request


def context(name: str, entries: Context) -> dict[str, context_pb2.ContextEntry]:
    """The encoded context entries; ``name`` is the argument that holds them."""
    result = {}
    with argument(name):
        items = entries.items()
    for key, entry in items:
        with argument(f"{name}[{key!r}]"):
            key.encode()
            result[key] = _context_entry(entry)
    return result


def _context_entry(entry: ContextEntry | str) -> context_pb2.ContextEntry:
    if isinstance(entry, str):
        entry = ContextEntry(text=entry)
    if sum(value is not None for value in (entry.text, entry.json, entry.data)) > 1:
        raise ValueError("a ContextEntry has only one of `text`, `json` and `data`")
    result = context_pb2.ContextEntry(type=entry.type)
    if entry.stored_only:
        result.visibility = context_pb2.ContextEntry.VISIBILITY_STORED
    if entry.text is not None:
        result.text = entry.text
    elif entry.data is not None:
        result.data.mime_type = entry.mime_type
        result.data.content = entry.data
    else:
        fill_json(result.json, entry.json, 1)
    return result
