"""Sessions, what callers decide about them, and receipts of the calls that change them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mcp_server.values.base import Struct
from mcp_server.values.context import ContextEntry


class MCPSession(Struct):
    """A conversation that the server keeps."""

    tenant: str
    """The tenant that owns it."""
    id: str
    """The last part of its resource name, ``sessions/{id}``."""
    uid: str
    """A unique id: it differs from that of an earlier session of the same ``id``."""
    create_time: int
    """When it was created."""
    update_time: int
    """When its content last changed; reads and renewals of the ``ttl`` do not count as changes."""
    etag: str
    """Changes whenever its content changes."""
    ttl: int | None = None
    """It expires after this time without use; ``None``: never."""
    expire_time: int | None = None
    """When it expires unless it is used before; ``None``: never."""
    labels: Mapping[str, str] = {}
    """Labels to filter lists by."""
    metadata: Mapping[str, Any] = {}
    """Data of the caller: a JSON object."""
    system_instruction: str = ""
    """The instruction that precedes the conversation in every prompt."""
    default_model: str = ""
    """The model for calls that do not name one."""
    context: Mapping[str, ContextEntry] = {}
    """Context entries, by name."""
    message_count: int = 0
    """How many messages its history has."""
    tokens: int = 0
    """About how many tokens the prompt of its next turn has without new messages."""
    claim: str = ""
    """The id of the turn that runs on it, or empty. It is void once that turn has ended or lost its lease."""
    parent: str = ""
    """The id of the session it was forked from."""
    key: str = ""
    """The id of the API key that created it, or empty."""
    hidden_turns: tuple[str, ...] = ()
    """The ids of turns that cannot be found any more although its history has their messages."""

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
    """The result of a call with a ``request_id`` other than a turn, so that a repetition changes nothing."""

    tenant: str
    """The tenant of the caller."""
    service: str
    """The service that was called."""
    request_id: str
    """The idempotency key of the caller."""
    create_time: int
    """When it was carried out."""
    session: str
    """The id of the session that was created or changed."""
    session_uid: str
    """Its uid."""
    scope: str = ""
    """The uid of the session in whose scope the key is, or empty."""
    digest: bytes = b""
    """A digest of the request, to detect a different one with the same key."""
    first_index: int = 0
    """The index of the first appended message."""
