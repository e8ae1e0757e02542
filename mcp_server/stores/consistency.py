"""What every store holds a change against before it writes."""

from __future__ import annotations

from mcp_server.interfaces import Change
from mcp_server.values import MCPSession, Receipt, Turn


def check(tenant: str, session: str, old: MCPSession | None, change: Change, *, forked: int | None) -> None:
    """Refuse a change that contradicts itself, or what is stored. Only a fault in the code that decided can make one.

    Args:
        tenant: whose session is changed.
        session: its id.
        old: the session as it is stored.
        change: what is to be written.
        forked: how many messages the session ``change.fork_of`` has; ``None`` if there is none.

    Raises:
        ValueError: it cannot be written.
    """
    new, turn, append, receipt = change.session, change.turn, change.append, change.receipt
    if new is None:
        if append or change.fork_of:
            raise ValueError("a history is written together with its session, which counts its messages")
    else:
        if change.delete:
            raise ValueError("a session is either written or deleted")
        if new.tenant != tenant or new.id != session:
            raise ValueError(f"the change of {session!r} of {tenant!r} holds {new.id!r} of {new.tenant!r}")
        begins = old is None or old.uid != new.uid
        count = 0 if old is None or begins else old.message_count
        if change.fork_of:
            if not begins:
                raise ValueError("only a new session can begin as a fork")
            count = new.message_count - len(append)
            if forked is None or not 0 <= count <= forked:
                raise ValueError(f"the session {change.fork_of!r} has no {count} messages to begin with")
        if new.message_count != count + len(append):
            raise ValueError(f"{count} messages and {len(append)} more are not {new.message_count}")
        for index, message in enumerate(append, count):
            if message.index != index:
                raise ValueError(f"the message at {index} says that it is at {message.index}")
    if change.events and turn is None:
        raise ValueError("a piece of a log needs its turn")
    left = new if new is not None or change.delete else old
    if turn is not None:
        if turn.tenant != tenant:
            raise ValueError(f"the turn {turn.id!r} is of {turn.tenant!r}, not of {tenant!r}")
        if turn.session_uid and (left is None or left.uid != turn.session_uid):
            raise ValueError(f"the session of the turn {turn.id!r} is not there")
    if receipt is not None:
        if receipt.tenant != tenant:
            raise ValueError(f"the receipt of {receipt.request_id!r} is of {receipt.tenant!r}, not of {tenant!r}")
        if receipt.scope and (left is None or left.uid != receipt.scope):
            raise ValueError(f"the session of the receipt of {receipt.request_id!r} is not there")


def request_taken(new: Turn | Receipt) -> ValueError:
    """What is raised for a turn or receipt whose ``request_id`` another one has."""
    return ValueError(f"the request_id {new.request_id!r} is taken")


def turn_moved(turn: Turn) -> ValueError:
    """What is raised for a turn that is written with another session or ``request_id`` than before."""
    return ValueError(f"the turn {turn.id!r} has got another session or request_id")
