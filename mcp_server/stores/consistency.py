"""What every store holds a change against before it writes."""

from __future__ import annotations

from mcp_server.interfaces import Change
from mcp_server.messages import MCPSession


def check(tenant: str, session: str, old: MCPSession | None, change: Change) -> None:
    """Refuse a change that contradicts itself, or what is stored. Only a fault in the code that decided can make one.

    Args:
        tenant: whose session is changed.
        session: its id.
        old: the session as it is stored.
        change: what is to be written.

    Raises:
        ValueError: it cannot be written.
    """
    new, turn, append = change.session, change.turn, change.append
    if new is None:
        if append:
            raise ValueError("messages are appended together with their session, which counts them")
    else:
        if change.delete:
            raise ValueError("a session is either written or deleted")
        if new.tenant != tenant or new.id != session:
            raise ValueError(f"the change of {session!r} of {tenant!r} holds {new.id!r} of {new.tenant!r}")
        begins = old is None or old.uid != new.uid
        if change.fork_of and not begins:
            raise ValueError("only a new session can begin as a fork")
        count = new.message_count - len(append) if change.fork_of else 0 if begins else old.message_count
        if new.message_count != count + len(append):
            raise ValueError(f"{count} messages and {len(append)} more are not {new.message_count}")
        for index, message in enumerate(append, count):
            if message.index != index:
                raise ValueError(f"the message at {index} says that it is at {message.index}")
    if change.events and turn is None:
        raise ValueError("a piece of a log needs its turn")
    if turn is not None:
        if turn.tenant != tenant:
            raise ValueError(f"the turn {turn.id!r} is of {turn.tenant!r}, not of {tenant!r}")
        left = new if new is not None or change.delete else old
        if turn.session_uid and (left is None or left.uid != turn.session_uid):
            raise ValueError(f"the session of the turn {turn.id!r} is not there")
