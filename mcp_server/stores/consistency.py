"""The invariants that every store checks before it writes a change."""

from __future__ import annotations

from mcp_server.interfaces import Change
from mcp_server.values import UNFINISHED, MCPSession, Message, Receipt, Turn


def check(tenant: str, session: str, old: MCPSession | None, change: Change, *, forked: int | None) -> None:
    """Refuse a change that contradicts itself or what is stored. Only a bug in the deciding code causes one.

    Args:
        tenant: the tenant of the session.
        session: the id of the session that is changed, or empty.
        old: the session as it is stored.
        change: what is to be written.
        forked: the number of messages of the session ``change.fork_of``; ``None`` if it does not exist.

    Raises:
        ValueError: the change is inconsistent.
    """
    new = change.session
    if new is None:
        if change.append or change.fork_of or change.rewind is not None:
            raise ValueError("messages can only be written together with their session, which counts them")
    else:
        _check_session(tenant, session, old, new, change, forked)
    if change.events and change.turn is None:
        raise ValueError("events can only be written together with their turn")
    remaining = new if new is not None or change.delete else old
    if change.turn is not None:
        _check_turn(tenant, remaining, change.turn)
    if change.receipt is not None:
        _check_receipt(tenant, remaining, change.receipt)
    for owned in (change.hold, *change.book):
        if owned is not None and owned.tenant != tenant:
            raise ValueError(f"the change of tenant {tenant!r} writes a hold or usage of {owned.tenant!r}")


def _check_session(
    tenant: str, session: str, old: MCPSession | None, new: MCPSession, change: Change, forked: int | None
) -> None:
    if change.delete:
        raise ValueError("a change cannot both write and delete a session")
    if new.tenant != tenant or new.id != session:
        raise ValueError(f"the change of session {session!r} of tenant {tenant!r} writes {new.id!r} of {new.tenant!r}")
    created = old is None or old.uid != new.uid
    count = 0 if old is None or created else old.message_count
    if change.fork_of:
        if not created:
            raise ValueError("only a new session can be a fork")
        count = new.message_count - len(change.append)
        if forked is None or not 0 <= count <= forked:
            raise ValueError(f"a fork of the session {change.fork_of!r} cannot share {count} messages: it has {forked}")
    if change.rewind is not None:
        if created or not 0 <= change.rewind <= count:
            raise ValueError(f"a history of {count} messages cannot be rewound to {change.rewind}")
        count = change.rewind
    if new.message_count != count + len(change.append):
        raise ValueError(f"message_count is {new.message_count}, but {count} + {len(change.append)} messages are there")
    _check_indices(count, change.append)


def _check_indices(first: int, messages: tuple[Message, ...]) -> None:
    for index, message in enumerate(messages, first):
        if message.index != index:
            raise ValueError(f"the message at index {index} has the index {message.index}")


def _check_turn(tenant: str, session: MCPSession | None, turn: Turn) -> None:
    if turn.tenant != tenant:
        raise ValueError(f"the turn {turn.id!r} belongs to tenant {turn.tenant!r}, not to {tenant!r}")
    if turn.session_uid and (session is None or session.uid != turn.session_uid):
        raise ValueError(f"the session of the turn {turn.id!r} does not exist")
    if turn.lease is not None and turn.state not in UNFINISHED:
        raise ValueError(f"the turn {turn.id!r} has a lease, but is {turn.state}")


def _check_receipt(tenant: str, session: MCPSession | None, receipt: Receipt) -> None:
    if receipt.tenant != tenant:
        raise ValueError(f"the receipt of {receipt.request_id!r} belongs to {receipt.tenant!r}, not to {tenant!r}")
    if receipt.scope and (session is None or session.uid != receipt.scope):
        raise ValueError(f"the session of the receipt of {receipt.request_id!r} does not exist")


def request_taken(new: Turn | Receipt) -> ValueError:
    """The error for a turn or receipt whose ``request_id`` another one has."""
    return ValueError(f"the request_id {new.request_id!r} is taken")


def turn_moved(turn: Turn) -> ValueError:
    """The error for a stored turn that is written with another session or ``request_id``."""
    return ValueError(f"the turn {turn.id!r} cannot change its session or request_id")
