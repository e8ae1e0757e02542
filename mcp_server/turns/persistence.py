"""Turns in the store: each method is one step of it, or one read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

import structlog

from mcp_server.errors import MCPError
from mcp_server.interfaces import NO_LOOK_UP, Change, LookUp, SharedStore, Store, Stored
from mcp_server.quotas import Quota, count_replay, queries
from mcp_server.sessions.changes import existing
from mcp_server.sessions.hub import SessionHub
from mcp_server.sessions.idempotency import request_of
from mcp_server.sessions.ownership import Ownership
from mcp_server.turns import claims
from mcp_server.turns.claims import Claim, Entry
from mcp_server.turns.history import History
from mcp_server.turns.journal import error_of
from mcp_server.turns.kinds import Conversation, Outcome
from mcp_server.turns.request import TurnRequest
from mcp_server.values import FINAL, SECOND, MCPSession, Message, Turn, TurnState, turn_name

log = structlog.get_logger("contextprotocol.turns")

RECOVERY_BATCH = 500
"""How many interrupted turns are asked for at once."""


FORGET_BATCH = 500
"""How many turns are deleted at once."""


class TurnStore:
    """Reads and writes turns.

    Args:
        store: an open store.
        ownership: this process as the holder of leases.
        hub: publishes changes to the watchers of sessions.
        max_messages: the most messages of a history that one turn reads, unless a single exchange has more.
    """

    def __init__(self, store: Store, ownership: Ownership, hub: SessionHub, *, max_messages: int) -> None:
        self.ownership = ownership
        self._store = store
        self._change = partial(hub.change, store)
        self._shared = store if isinstance(store, SharedStore) else None
        self.max_messages = max_messages
        """The most messages of a history that one turn reads."""
        self._unrecorded: dict[str, tuple[Turn, bytes]] = {}

    # -- decisions ----------------------------------------------------------------------------------------------------

    async def find(self, turn: Turn) -> Turn | None:
        """The turn that the request of ``turn`` began before, if there is one.

        Raises:
            SessionNotFound: there is no such session.
        """

        def decide(stored: Stored) -> Change:
            if turn.session:
                existing(stored.session, turn.session, self.ownership.now(stored))
            return Change()

        changed = await self._change(turn.tenant, turn.session, decide, LookUp(request=request_of(turn)))
        stored = changed.stored
        return None if stored.turn is None or stored.turn.expired(self.ownership.now(stored)) else stored.turn

    async def claim(
        self, turn: Turn, request: TurnRequest, entry: Entry, *, stored: bool
    ) -> tuple[Claim, Conversation]:
        """Store the turn and reserve its session, as :func:`~mcp_server.turns.claims.claim`.

        ``stored`` says whether it is there already and waits. Also returns the session with its history, if the turn
        runs.
        """
        result: Claim | None = None
        read_last = self.max_messages if request.input.reads_history else 0

        def decide(found: Stored) -> Change:
            nonlocal result
            result = claims.claim(found, turn, request, entry, self.ownership, read_last=read_last)
            if result.earlier is not None:
                # From the moment of the write on, it counts as running here.
                self.ownership.live.add(result.turn.id)
            return result.change

        holder = bool(turn.session)
        accounts = queries(request.quota, self.ownership.clock())
        if stored and self._shared is not None:
            look_up = LookUp(turn=turn.id, holder=holder, accounts=accounts)
        elif turn.request_id:
            look_up = LookUp(request=request_of(turn), holder=holder, accounts=accounts)
        else:
            look_up = LookUp(holder=holder, accounts=accounts)
        try:
            changed = await self._change(turn.tenant, turn.session, decide, look_up)
        except BaseException:
            # If it was written all the same, it counts as left behind.
            if result is not None and result.earlier is not None:
                self.ownership.live.discard(result.turn.id)
            raise
        assert result is not None
        running = result.turn.state is TurnState.RUNNING
        session = changed.change.session if running else None
        if session is None:
            return result, Conversation()
        history = History(self._store, session, changed.messages, max_messages=self.max_messages) if read_last else None
        return result, Conversation(session=session, history=history)

    def conversation(self, session: MCPSession | None) -> Conversation:
        """A session as it is now, and its history, without claiming it."""
        if session is None:
            return Conversation()
        history = History(self._store, session, None, max_messages=self.max_messages)
        return Conversation(session=session, history=history)

    async def count_replay(self, quota: Quota) -> None:
        """Count a call that finds its turn as a request of the caller."""
        if any("requests" in subject.rates for subject in quota.subjects):
            look_up = LookUp(accounts=queries(quota, self.ownership.clock()))
            await self._change(
                quota.tenant,
                "",
                lambda stored: count_replay(quota, stored.accounts, self.ownership.now(stored)),
                look_up,
            )

    async def forget(self, turn: Turn) -> None:
        """Delete a turn that cannot be found any more, and whatever the next sweep deletes before it.

        Raises:
            TurnNotFound: the store has kept it.
        """
        assert turn.retained_since is not None
        while await self._store.forget(turn.retained_since + 1, FORGET_BATCH) >= FORGET_BATCH:
            continue
        if await self._store.turn(turn.tenant, turn.id) is not None:
            raise claims.turn_not_found(turn.name)

    async def journal(self, turn: Turn, events: bytes) -> None:
        """Store how far a turn is, as :func:`~mcp_server.turns.claims.journal`."""
        await self._change(
            turn.tenant, turn.session, lambda stored: claims.journal(stored, turn, events), self._own_row(turn)
        )

    async def commit(self, turn: Turn, outcome: Outcome | None, events: bytes) -> tuple[Turn, Sequence[Message]]:
        """End a turn that succeeded, as :func:`~mcp_server.turns.claims.commit`.

        Returns:
            The turn, and the messages of the exchange, as they are stored.
        """
        changed = await self._change(
            turn.tenant,
            turn.session,
            lambda stored: claims.commit(stored, turn, outcome, events, self.ownership),
            self._own_row(turn),
        )
        assert changed.change.turn is not None
        return changed.change.turn, changed.change.append

    async def release(self, turn: Turn, events: bytes = b"", *, doubtful: bool = False) -> Turn:
        """End a turn that did not succeed, as :func:`~mcp_server.turns.claims.release`.

        Args:
            turn: the turn as it ends.
            events: the last piece of its log.
            doubtful: whether it may have been stored as a success before.

        Returns:
            The turn by the record.
        """
        look_up = LookUp(turn=turn.id) if doubtful else self._own_row(turn)
        try:
            changed = await self._change(
                turn.tenant, turn.session, lambda stored: claims.release(stored, turn, events, self.ownership), look_up
            )
        except BaseException:
            self._unrecorded[turn.id] = turn, events
            raise
        return changed.change.turn or changed.stored.turn or turn

    async def write_unrecorded(self) -> None:
        """Make the turns INTERRUPTED whose end could not be stored, unless another process has taken them since."""
        for turn, events in list(self._unrecorded.values()):
            del self._unrecorded[turn.id]
            try:
                await self.release(claims.left_behind(turn), events, doubtful=True)
            except Exception as error:
                log.debug("end of turn not stored", turn=turn.name, exc_info=error)

    async def give_up(self, turn: Turn, error: MCPError) -> Turn:
        """Make a turn CANCELLED that does not run here, as :func:`~mcp_server.turns.claims.give_up`.

        Returns:
            The turn by the record.
        """
        changed = await self._change(
            turn.tenant,
            turn.session,
            lambda stored: claims.give_up(stored, turn, error, self.ownership),
            LookUp(turn=turn.id),
        )
        ended = changed.change.turn or changed.stored.turn
        assert ended is not None
        return ended

    async def hide(self, turn: Turn, retention: int) -> None:
        """Let nobody find a turn that has ended, as :func:`~mcp_server.turns.claims.hide`."""
        await self._change(
            turn.tenant, turn.session, lambda stored: claims.hide(stored, turn, retention), LookUp(turn=turn.id)
        )

    async def loss(self, turn: Turn) -> MCPError:
        """Why this process no longer holds a turn that runs here: as it ended by the record, or for a lost lease."""
        stored = await self._store.turn(turn.tenant, turn.id)
        if stored is None:
            return claims.session_deleted(turn)
        return error_of(stored) if stored.state in FINAL else claims.lease_lost(turn)

    # -- reads --------------------------------------------------------------------------------------------------------

    async def get(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """A turn as it is stored, its message without parts.

        Raises:
            TurnNotFound: there is none, or its session is gone.
        """
        turn = await self._store.turn(tenant, turn_id)
        if turn is not None and turn.session == session_id and self._is_visible(turn):
            if not session_id:
                return await self._present(turn)
            session = await self._store.session(tenant, session_id)
            if session is not None and session.uid == turn.session_uid and not session.expired(self.ownership.clock()):
                return await self._present(turn)
        raise claims.turn_not_found(turn_name(session_id, turn_id))

    async def list(self, session: MCPSession, *, limit: int, before: str) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session that are older than the one with the id ``before``, the newest first."""
        found: list[Turn] = []
        while (missing := limit - len(found)) > 0:
            turns = await self._store.turns(session.tenant, session.uid, missing, before)
            found += [await self._present(turn) for turn in turns if self._is_visible(turn)]
            if len(turns) < missing:
                break
            before = turns[-1].id
        return found

    def _is_visible(self, turn: Turn) -> bool:
        """Whether a stored turn may be read."""
        return not turn.expired(self.ownership.clock())

    async def events(self, turn: Turn) -> Sequence[bytes]:
        """The pieces of the log of a turn.

        Raises:
            TurnNotFound: since the turn was read, it has been forgotten.
        """
        pieces = await self._store.events(turn.tenant, turn.id)
        if not pieces and turn.message is not None and not turn.message.parts:
            raise claims.turn_not_found(turn.name)
        return pieces

    async def _present(self, turn: Turn) -> Turn:
        """A stored turn; one that this process left behind, since its end could not be stored, is INTERRUPTED."""
        if not self.ownership.is_left_behind(turn):
            return turn
        # It may have ended since it was read. Now that it runs no more, the record does not change by itself.
        turn = await self._store.turn(turn.tenant, turn.id) or turn
        return claims.left_behind(turn) if self.ownership.is_left_behind(turn) else turn

    # -- leases -------------------------------------------------------------------------------------------------------

    async def renew(self) -> Collection[str]:
        """Renew all leases of this process, only in a shared store; return the ids of the turns that it still holds."""
        assert self._shared is not None
        assert self.ownership.lease_seconds is not None
        return await self._shared.renew(self.ownership.owner, int(self.ownership.lease_seconds * SECOND))

    async def recover(self) -> int:
        """Make the turns INTERRUPTED whose process is gone, free their sessions, and count them.

        In an exclusive store these are all unfinished turns of others; in a shared one, those whose lease has ended.
        """
        count, full = 0, True
        while full:
            if self._shared is not None:
                gone = await self._shared.lapsed(RECOVERY_BATCH)
            else:
                gone = await self._store.interrupted(self.ownership.owner, RECOVERY_BATCH)
            changes = await asyncio.gather(*[self._interrupt(turn) for turn in gone])
            count += sum(changes)
            full = len(gone) == RECOVERY_BATCH and any(changes)
        return count

    async def _interrupt(self, turn: Turn) -> bool:
        changed = await self._change(
            turn.tenant,
            turn.session,
            lambda stored: claims.interrupt(stored, turn, self.ownership),
            LookUp(turn=turn.id),
        )
        return changed.change.turn is not None

    def _own_row(self, turn: Turn) -> LookUp:
        """Reads the turn's own row, where another process may have written it: only in a shared store."""
        return NO_LOOK_UP if self._shared is None else LookUp(turn=turn.id)
