"""What changes of sessions have in common. Pure functions: they run inside the store's atomic step."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from mcp_server.errors import EtagMismatch, InvalidArgument, SessionNotFound, Violation
from mcp_server.rules.limits import MAX_HIDDEN_TURNS
from mcp_server.token_estimates import tokens_of_messages
from mcp_server.values import MCPSession, Message

replace = msgspec.structs.replace


_RANDOM_BITS: Final = 48
_STEP_BITS: Final = 40
"""How far apart the ids of one millisecond are, so that none can be guessed from another."""


class IdSequence:
    """New ids that sort in the order in which they are made: by milliseconds, then by a growing random number.

    An id is always greater than the one before it, also if the clock was set back. Of the ids that two processes make
    in one millisecond, or whose clocks differ, either may be the greater one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self, prefix: str) -> str:
        """The next id, with this prefix."""
        with self._lock:
            number = (time.time_ns() // 1_000_000 << _RANDOM_BITS) + secrets.randbits(_RANDOM_BITS)
            if number <= self._last:
                number = self._last + 1 + secrets.randbits(_STEP_BITS)
            self._last = number
        return f"{prefix}{number:024x}"


fresh_id: Final = IdSequence().next
"""Makes a new id with a prefix. The servers of one process share the sequence, since they may share a store."""


def new_etag() -> str:
    """A new etag."""
    return secrets.token_hex(8)


def expire_time(ttl: int | None, now: int) -> int | None:
    """When a session ends that was used now."""
    return None if ttl is None else now + ttl


def existing(session: MCPSession | None, session_id: str, now: int) -> MCPSession:
    """The session, if it is there and has not expired.

    Raises:
        SessionNotFound: it is not.
    """
    if session is None or session.expired(now):
        raise not_found(session_id)
    return session


def touched(session: MCPSession, now: int, *, content: bool = False) -> MCPSession:
    """The session after a use: its ttl renewed and, if its content changed, its etag and update time."""
    expires = expire_time(session.ttl, now)
    if content:
        return replace(session, expire_time=expires, update_time=now, etag=new_etag())
    return replace(session, expire_time=expires)


def appended(
    session: MCPSession, messages: Sequence[Message], now: int, *, turn: str = ""
) -> tuple[MCPSession, tuple[Message, ...]]:
    """The session with more messages at its end, and these messages as they are stored."""
    first = session.message_count
    stored = tuple(
        [
            replace(message, index=index, id=f"m{index}", create_time=now, turn=turn)
            for index, message in enumerate(messages, first)
        ]
    )
    tokens = session.tokens if turn else session.tokens + sum(tokens_of_messages(messages))
    return replace(session, message_count=first + len(stored), tokens=tokens), stored


def with_hidden_turn(session: MCPSession, turn_id: str) -> MCPSession:
    """The session, whose history has messages of a turn that is hidden from now on. That is no change of its content.

    Raises:
        InvalidArgument: it has too many of them.
    """
    if turn_id in session.hidden_turns:
        return session
    if len(session.hidden_turns) >= MAX_HIDDEN_TURNS:
        problem = (
            f"{session.name} has {MAX_HIDDEN_TURNS} hidden turns, which is the maximum: delete the session instead"
        )
        raise InvalidArgument([Violation(field="name", description=problem)])
    return replace(session, hidden_turns=(*session.hidden_turns, turn_id))


def check_etag(session: MCPSession, etag: str) -> None:
    """Refuse a call whose etag is not the session's.

    Raises:
        EtagMismatch: it is another one.
    """
    if etag and etag != session.etag:
        raise EtagMismatch(
            f"{session.name} has changed since it was read (etag {session.etag}, not {etag}): read it again",
            metadata={"session": session.name, "etag": session.etag},
        )


def check_length(session: MCPSession, message_count: int | None) -> None:
    """Refuse a call that continues another history than the session's.

    Raises:
        EtagMismatch: it has another length.
    """
    if message_count is not None and message_count != session.message_count:
        raise EtagMismatch(
            f"{session.name} has {session.message_count} messages, not {message_count}: read it again",
            metadata={"session": session.name, "etag": session.etag},
        )


def check_count(session: MCPSession, count: int) -> None:
    """Refuse to keep more messages than a session has.

    Raises:
        InvalidArgument: it has fewer.
    """
    if count > session.message_count:
        problem = f"must be at most {session.message_count}, the number of messages of {session.name}, not {count}"
        raise InvalidArgument([Violation(field="message_count", description=problem)])


def not_found(session_id: str) -> SessionNotFound:
    """The error of a call that names a session that is not there."""
    return SessionNotFound(
        f"session sessions/{session_id} not found: unknown id, deleted or expired",
        metadata={"session": f"sessions/{session_id}"},
    )
