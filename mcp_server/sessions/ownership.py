"""Which unfinished turns bind their sessions: the rules of leases."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from mcp_server.errors import SessionBusy
from mcp_server.interfaces import Stored
from mcp_server.values import SECOND, UNFINISHED, Clock, Lease, MCPSession, Turn, turn_name

LEASE_SECONDS: Final = 15.0
"""How long a lease in a shared store lasts unless it is renewed."""


class Ownership:
    """This process as the holder of leases.

    In an exclusive store, a turn binds its session as long as it runs in this process: no other process can have one.
    In a shared store, a turn of another process binds its session until its lease ends by the store's clock.

    Args:
        owner: names this process in leases.
        clock: tells the time where the store does not.
        lease_seconds: how long a lease lasts in a shared store; ``None``: the store is exclusive.
    """

    def __init__(self, owner: str, clock: Clock, *, lease_seconds: float | None = None) -> None:
        self.owner = owner
        self.clock = clock
        self.address = ""
        """Where other servers reach this one, once it listens."""
        self.lease_seconds = lease_seconds
        self.live: set[str] = set()
        """The ids of the turns that run or wait in this process. The registry of turns maintains it."""

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same store."""
        return self.lease_seconds is not None

    def now(self, stored: Stored) -> int:
        """The time of a decision: the store's own in a shared store."""
        return self.clock() if stored.now is None else stored.now

    def lease(self, now: int) -> Lease:
        """The lease of a turn that this process takes on at the time ``now``."""
        expire_time = None if self.lease_seconds is None else now + int(self.lease_seconds * SECOND)
        return Lease(owner=self.owner, address=self.address, expire_time=expire_time)

    def binds(self, turn: Turn | None, now: int) -> bool:
        """Whether a process works on the turn, as far as can be known at the time ``now``."""
        if turn is None or turn.state not in UNFINISHED or turn.lease is None:
            return False
        if turn.lease.owner == self.owner:
            # One that does not run here is a leftover of a turn whose end could not be written.
            return turn.id in self.live
        return self.shared and turn.lease.expire_time is not None and turn.lease.expire_time > now

    def is_left_behind(self, turn: Turn) -> bool:
        """Whether this process left the turn behind: unfinished by the record, and not running here."""
        return (
            turn.state in UNFINISHED
            and (turn.lease is None or turn.lease.owner == self.owner)
            and turn.id not in self.live
        )

    def holder(self, stored: Stored, *, other_than: str = "") -> str:
        """The full name of the turn that has the session, or an empty string; ``other_than`` does not count."""
        session, turn = stored.session, stored.holder
        if session is None or session.claim in ("", other_than) or not self.binds(turn, self.now(stored)):
            return ""
        return turn_name(session.id, session.claim)

    def present(self, session: MCPSession) -> MCPSession:
        """The session without the claim of a turn that has ended, and whose end could not be stored yet."""
        if not session.claim or self.shared or session.claim in self.live:
            return session
        return replace(session, claim="")

    def check_free(self, stored: Stored) -> None:
        """Refuse to change the history of a session on which a turn runs.

        Raises:
            SessionBusy: a turn has the session.
        """
        if holder := self.holder(stored):
            assert stored.session is not None
            raise session_busy(stored.session, holder)


def session_busy(session: MCPSession, holder: str) -> SessionBusy:
    """The error of a call that needs a session that a turn has."""
    return SessionBusy(
        f"{session.name} is busy with the turn {holder}: wait until it has ended, then send the call again",
        metadata={"session": session.name, "turn": holder},
    )
