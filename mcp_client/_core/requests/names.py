"""Resource names and idempotency keys of requests."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any, Final

from mcp_client._core.arguments import argument
from mcp_client.values import Key, Session, Turn

_UNREADABLE: Final = re.compile("[^a-z0-9]+")
_READABLE: Final = 25
"""How many characters of a session's id can be read; it has 63 at most, ``user-`` and the digest included."""
_RANDOM_KEY: Final = "auto-"
"""The prefix of generated keys, which no other caller can know."""


def set_request_id(request: Any, request_id: str | None) -> None:
    """Set the idempotency key of a request: the caller's, or a random one."""
    with argument("request_id"):
        request.request_id = request_id or f"{_RANDOM_KEY}{secrets.token_hex(16)}"


def may_be_shared(request: Any) -> bool:
    """Whether another caller may wait for the same turn because the caller chose the key."""
    return not request.request_id.startswith(_RANDOM_KEY)


def session_id_for(*names: str) -> str:
    """The id of the session of a user, from any name that identifies them.

    Equal names have equal ids, on every machine, and different names have different ones. An id begins with what can be
    read of the names, for example ``ada-example-com-`` for ``Ada@example.com``.

    Args:
        names: the name of the user in your application, for example a mail address; and further names if a user has
            several conversations, for example ``session_id_for("Ada@example.com", "sales")``.

    Raises:
        TypeError, ValueError: a name is missing or empty: all users without a name would share one session.
    """
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"expected names, not {names!r}")
    if not names or not all(name.strip() for name in names):
        raise ValueError(f"expected names that are not empty, not {names!r}")
    readable = _UNREADABLE.sub("-", "-".join(names).lower())[:_READABLE].strip("-")
    encoded = [name.encode(errors="surrogatepass") for name in names]
    digest = hashlib.sha256(b"".join([b"%d:%b" % (len(name), name) for name in encoded])).hexdigest()[:32]
    return "-".join(filter(None, ("" if readable[:1].isalpha() else "user", readable, digest)))


def session_name(session: str | Session) -> str:
    """``sessions/{id}``, from an id, a full name or a session."""
    if isinstance(session, Session):
        return session.name
    with argument("session"):
        if not isinstance(session, str):
            raise TypeError(f"expected the id or full name of a session, or a Session, not {type(session).__name__}")
        session.encode()
    return session if session.startswith("sessions/") else f"sessions/{session}"


def turn_name(turn: str | Turn) -> str:
    """The full name of a turn."""
    if isinstance(turn, Turn):
        return turn.name
    with argument("turn"):
        if not isinstance(turn, str):
            raise TypeError(f"expected the full name of a turn, or a Turn, not {type(turn).__name__}")
        turn.encode()
    return turn


def key_name(key: str | Key) -> str:
    """``keys/{id}``, from an id, a full name or a key."""
    if isinstance(key, Key):
        return key.name
    with argument("key"):
        if not isinstance(key, str):
            raise TypeError(f"expected the id or full name of a key, or a Key, not {type(key).__name__}")
        key.encode()
    return key if key.startswith("keys/") else f"keys/{key}"
