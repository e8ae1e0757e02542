"""The turns that this process runs, and the records of those that ended: begin, attach, read, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from mcp_server.errors import Draining, SessionNotFound, TurnCancelled, TurnNotFound
from mcp_server.interfaces import TurnObserver
from mcp_server.sessions.idempotency import check_digest
from mcp_server.sessions.manager import Entry, MCPSessionManager, replace
from mcp_server.turns.journal import log_of, whole
from mcp_server.turns.log import TurnReader
from mcp_server.turns.queue import Lines
from mcp_server.turns.runner import SEQUENCE_BLOCK, LiveTurn, Terms, Work
from mcp_server.values import (
    FINAL,
    Clock,
    IfBusy,
    MCPSession,
    Turn,
    TurnError,
    turn_name,
)

_AT_ONCE = Entry()


class Turns:
    """The turns.

    Args:
        sessions: the sessions that they write.
        clock: tells the time.
        observers: are told of each turn.
        heartbeat_interval: seconds of silence after which readers get a sign of life.
        journal_interval: seconds between two times that what was generated is written down.
        disconnect_grace: seconds that a turn without readers goes on, if it is to end without them.
        max_waiting: how many turns may wait for one session.
    """

    def __init__(
        self,
        sessions: MCPSessionManager,
        *,
        clock: Clock,
        observers: Sequence[TurnObserver] = (),
        heartbeat_interval: float = 15,
        journal_interval: float = 1,
        disconnect_grace: float = 10,
        max_waiting: int = 16,
    ) -> None:
        self.sessions = sessions
        self.clock = clock
        self.disconnect_grace = disconnect_grace
        self.draining = False
        """Set when no new work is taken on."""
        self._observers = observers
        self._heartbeat_interval = heartbeat_interval
        self._journal_interval = journal_interval
        self._live: dict[str, LiveTurn] = {}
        self._by_request: dict[tuple[str, str, str, str], LiveTurn] = {}
        self._lines: Lines[LiveTurn] = Lines(max_waiting=max_waiting)

    # -- what callers do ----------------------------------------------------------------------------------------------

    async def open(self, turn: Turn, work: Work, terms: Terms) -> TurnReader:
        """Begin a turn, or find the one that its request became before; return a reader of it.

        The look-up of the ``request_id`` comes before everything else. What refuses a new turn is raised by the reader.

        Raises:
            RequestIdReused: the ``request_id`` belongs to another request.
            TurnNotFound: ``after_sequence`` is given, and there is no turn to resume.
            Draining: the server takes on nothing new.
        """
        after = terms.after_sequence or 0
        if turn.request_id:
            if reader := self._attached(turn, after):
                return reader
            if self.draining or terms.after_sequence is not None:
                found = await self.sessions.find(turn)
                if reader := self._attached(turn, after):  # it has come to life meanwhile
                    return reader
                if found is not None and found.state in FINAL:
                    check_digest(found, turn.digest)
                    return await self._record(found, after)
                if found is None and terms.after_sequence is not None:
                    raise TurnNotFound(f"no turn has the request_id {turn.request_id!r}: there is nothing to resume")
        # Nothing is awaited between this and the start: who drains has either been seen here, or waits for the turn.
        self.check_draining()
        live = LiveTurn(self, replace(turn, sequence_limit=SEQUENCE_BLOCK), work, terms)
        self._live[turn.id] = live
        if turn.request_id:
            self._by_request[_request(turn)] = live
        if turn.session:
            self._lines.join(live)
        return live.reader(after)

    def _attached(self, turn: Turn, after: int) -> TurnReader | None:
        live = self._by_request.get(_request(turn))
        if live is None:
            return None
        check_digest(live.turn, turn.digest)
        return live.reader(after)

    async def _record(self, turn: Turn, after: int) -> TurnReader:
        return log_of(turn, await self.sessions.events(turn)).reader(after)

    def check_draining(self) -> None:
        """Refuse new work while the server is about to stop.

        Raises:
            Draining: it is.
        """
        if self.draining:
            raise Draining("the server is about to stop: send the same request again", retry_after=1)

    async def get(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """A turn as it is now, with all that was said.

        Raises:
            TurnNotFound: there is none.
        """
        live = self._find(tenant, session_id, turn_id)
        if live is not None:
            return live.snapshot()
        turn = await self.sessions.turn(tenant, session_id, turn_id)
        return whole(turn, await self.sessions.events(turn))

    async def list(self, session: MCPSession, *, limit: int, before: str) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session that are older than the one with the id ``before``, the newest first."""
        turns = await self.sessions.turns(session, limit=limit, before=before)
        return [self._live[turn.id].turn if turn.id in self._live else turn for turn in turns]

    async def read(self, tenant: str, session_id: str, turn_id: str, after_sequence: int) -> TurnReader:
        """A reader of a turn's events, live or from the record.

        Raises:
            TurnNotFound: there is no such turn.
        """
        live = self._find(tenant, session_id, turn_id)
        if live is not None:
            return live.reader(after_sequence)
        return await self._record(await self.sessions.turn(tenant, session_id, turn_id), after_sequence)

    async def cancel(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """Stop a turn, and return it as it ended: cancelled, or otherwise if that came first.

        Raises:
            TurnNotFound: there is none.
        """
        name = turn_name(session_id, turn_id)
        error = TurnCancelled(f"the turn {name} was cancelled", metadata={"turn": name})
        reason = TurnError(reason=error.reason, message=error.message, metadata=error.metadata)
        live = self._find(tenant, session_id, turn_id)
        while True:
            if live is not None:
                live.cancel(error)
                await asyncio.wait([live.task])
            turn = await self.sessions.turn(tenant, session_id, turn_id)
            if turn.state not in FINAL:
                turn = await self.sessions.give_up(turn, reason)
            if turn.state in FINAL:
                return whole(turn, await self.sessions.events(turn))
            # It had been interrupted, and its request was sent again meanwhile; or it ends just now.
            await asyncio.sleep(0)
            live = self._live.get(turn_id)

    def cancel_session(self, session: MCPSession) -> None:
        """Stop the turns of a session that was deleted; their readers end with SessionNotFound."""
        gone = SessionNotFound(f"{session.name} was deleted while the turn ran", metadata={"session": session.name})
        for live in self._lines.of(session.tenant, session.id, session.uid):
            # Another session may have its id already, and request ids of its own.
            self._forget_request(live)
            live.deleted = True
            live.cancel(gone)

    def _find(self, tenant: str, session_id: str, turn_id: str) -> LiveTurn | None:
        live = self._live.get(turn_id)
        if live is None or (live.turn.tenant, live.turn.session) != (tenant, session_id):
            return None
        if live.deleted or not live.exists:
            return None
        return live

    # -- what turns need of the others --------------------------------------------------------------------------------

    def entry(self, live: LiveTurn) -> Entry:
        """On which terms it may have its session now."""
        if not live.turn.session:
            return _AT_ONCE
        behind = self._lines.ahead(live)
        if live.if_busy is IfBusy.REJECT:
            return Entry(behind=behind) if behind else _AT_ONCE
        return Entry(wait=True, behind=behind, full=self._lines.full(live))

    def began(self, live: LiveTurn) -> None:
        """It exists."""
        for observer in self._observers:
            observer.turn_started(live.turn)

    def waits(self, live: LiveTurn) -> int:
        """It waits for its session; how many turns go before it."""
        if live.if_busy is IfBusy.CANCEL_RUNNING:
            self._lines.make_way(live)
        return self._lines.position(live)

    def runs(self, live: LiveTurn) -> None:
        """It has its session."""
        if live.turn.session:
            self._lines.runs(live)

    def adopt(self, live: LiveTurn, turn_id: str) -> None:
        """It goes on as the turn with that id."""
        del self._live[live.turn.id]
        self._live[turn_id] = live

    def ended(self, live: LiveTurn, *, existed: bool) -> None:
        """It has ended, or was refused before it existed."""
        del self._live[live.turn.id]
        self._forget_request(live)
        if live.turn.session:
            self._lines.leave(live)
        if existed:
            for observer in self._observers:
                observer.attempts_ended(live.turn.service, live.turn.attempts[live.earlier_attempts :])
                observer.turn_ended(live.turn)

    def _forget_request(self, live: LiveTurn) -> None:
        request = _request(live.turn)
        if self._by_request.get(request) is live:
            del self._by_request[request]

    # -- what time does -----------------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """For ever: let readers that hear nothing know that their turn lives."""
        while True:
            # A reader beats at the second look that finds it waiting: after one interval at the least.
            await asyncio.sleep(self._heartbeat_interval)
            self._beat()

    def _beat(self) -> None:
        for live in self._live.values():
            live.log.beat()

    async def journal(self) -> None:
        """For ever: write down what the running turns have generated, all of them together."""
        while True:
            await asyncio.sleep(self._journal_interval)
            await asyncio.gather(*[live.journal() for live in self._live.values()])

    async def idle(self) -> None:
        """Return when no turn runs."""
        while self._live:
            await asyncio.wait([live.task for live in self._live.values()])

    async def drain(self, timeout: float) -> None:
        """Let the running turns end for ``timeout`` seconds, then interrupt the others; return when all is written."""
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.idle()
        self.interrupt()
        await self.idle()

    def interrupt(self) -> None:
        """Stop all turns now: each keeps what it has, and can be run again elsewhere."""
        for live in list(self._live.values()):
            name = live.turn.name
            live.cancel(
                Draining("the server stops: send the same request again", metadata={"turn": name}, retry_after=1)
            )


def _request(turn: Turn) -> tuple[str, str, str, str]:
    return turn.tenant, turn.service, turn.session, turn.request_id
