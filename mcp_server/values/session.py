"""Sessions, what callers decide about them, and receipts of the calls that change them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mcp_server.values.base import Struct
from mcp_server.values.context import ContextEntry


class MCPSession(Struct):
    """A conversation that the server keeps."""

    tenant: str
    """Whose it is."""
    id: str
    """The last part of its resource name, ``sessions/{id}``."""
    uid: str
    """Tells it from an earlier session of the same id."""
    create_time: int
    """When it was created."""
    update_time: int
    """When its content last changed; reads and renewals of the ``ttl`` do not count."""
    etag: str
    """Changes whenever its content changes."""
    ttl: int | None = None
    """How long it lives without being used; ``None``: for ever."""
    expire_time: int | None = None
    """When it ends unless it is used before."""
    labels: Mapping[str, str] = {}
    """Short facts to find it by."""
    metadata: Mapping[str, Any] = {}
    """A JSON object of the caller's own."""
    system_instruction: str = ""
    """What the model is told before every conversation."""
    default_model: str = ""
    """The model of calls that name none."""
    context: Mapping[str, ContextEntry] = {}
    """What the model is told besides, by name."""
    message_count: int = 0
    """How many messages its history has."""
    claim: str = ""
    """The id of the turn that runs on it, or empty. It binds nobody once that turn has ended or lost its lease."""
    parent: str = ""
    """The id of the session it was forked from."""

    @property
    def name(self) -> str:
        """The full resource name."""
        return f"sessions/{self.id}"

    def expired(self, now: int) -> bool:
        """Whether it has ended at time ``now``. A turn that runs prevents it."""
        return self.expire_time is not None and self.expire_time <= now and not self.claim


class SessionDraft(Struct):
    """What a caller decides about a session."""

    ttl: int | None = None
    """How long it lives without being used, in nanoseconds; ``None``: the server's default."""
    labels: Mapping[str, str] = {}
    """As in :class:`MCPSession`, like the fields below."""
    metadata: Mapping[str, Any] = {}
    system_instruction: str = ""
    default_model: str = ""
    context: Mapping[str, ContextEntry] = {}


class SessionUpdate(Struct):
    """A change to a session, applied in one step."""

    fields: Mapping[str, Any] = {}
    """Fields of :class:`SessionDraft` and their new values; ``ttl=None`` means the server's default."""
    set_context: Mapping[str, ContextEntry] = {}
    """Entries to add or replace, after ``remove_context``."""
    remove_context: Collection[str] = ()
    """Names to remove."""
    etag: str = ""
    """If set, the etag that the session must have."""


class Receipt(Struct):
    """What a call with a ``request_id`` did that is no turn, so that sending it again changes nothing."""

    tenant: str
    """Whose it is."""
    service: str
    """The service that was called."""
    request_id: str
    """The caller's key."""
    create_time: int
    """When it was carried out."""
    session: str
    """The id of the session that was created or changed."""
    session_uid: str
    """Its uid."""
    scope: str = ""
    """The uid of the session that the key belongs to, or empty."""
    digest: bytes = b""
    """Tells the request from any other."""
    first_index: int = 0
    """The index of the first message that was appended."""
