"""The turns: begin one or find it, read, cancel, drain. The one entry of this package."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

import structlog

from mcp_server.errors import Draining, MCPError, TurnCancelled, TurnNotFound
from mcp_server.interfaces import ContentObserver, ContextType, Store, TurnObserver
from mcp_server.models.target import Target
from mcp_server.quotas import Quota
from mcp_server.sessions.hub import Caller, SessionHub
from mcp_server.sessions.idempotency import check_digest
from mcp_server.sessions.ownership import Ownership
from mcp_server.settings.tables import TurnSettings
from mcp_server.turns import claims
from mcp_server.turns.counting import TokenCount, count_tokens
from mcp_server.turns.journal import log_of, whole
from mcp_server.turns.kinds import ChatInput, CompletionInput
from mcp_server.turns.live import LiveTurns
from mcp_server.turns.log import TurnLog, TurnReader
from mcp_server.turns.persistence import TurnStore
from mcp_server.turns.queue import SessionQueues
from mcp_server.turns.request import TurnRequest, digest, release
from mcp_server.turns.runner import Dependencies, TurnRunner, new_turn
from mcp_server.turns.watching import SessionWatch, SessionWatches
from mcp_server.values import FINAL, SECOND, UNFINISHED, MCPSession, Turn, TurnState, turn_name

log = structlog.get_logger("contextprotocol.turns")

EXPIRY_INTERVAL: Final = 1.0
"""How often watched sessions are looked through for expired ones, in seconds."""
LAST_TURNS: Final = 100
"""How many of the last turns of a watched session are searched for unfinished ones of other servers."""
MAX_INLINE: Final = 64 * 1024
"""The largest stored log that is decoded on the event loop, in bytes; about a millisecond's work."""


class TurnRegistry:
    """The turns of this server, running and stored.

    Args:
        store: an open store.
        ownership: this process as the holder of leases.
        settings: intervals and limits.
        max_messages: the most messages of a history that one turn reads.
        context_types: render the context of sessions, by name.
        observers: are notified of each turn.
        content_observers: are shown what each turn was asked and has answered.
        hub: publishes changes to the watchers of sessions.
    """

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        settings: TurnSettings,
        *,
        max_messages: int,
        context_types: Mapping[str, ContextType],
        observers: Sequence[TurnObserver] = (),
        content_observers: Sequence[ContentObserver] = (),
        hub: SessionHub | None = None,
    ) -> None:
        self.draining = False
        """Set when no new work is taken on."""
        self._settings = settings
        self._ownership = ownership
        hub = hub or SessionHub()
        self._store = TurnStore(store, ownership, hub, max_messages=max_messages)
        self._watches = SessionWatches(store, ownership, hub, self._unfinished)
        self._live: LiveTurns[TurnRunner] = LiveTurns(ownership)
        self._queues: SessionQueues[TurnRunner] = SessionQueues(max_waiting=settings.max_queued)
        self._dependencies = Dependencies(
            store=self._store,
            live=self._live,
            queues=self._queues,
            context_types=context_types,
            observers=observers,
            content_observers=content_observers,
            clock=ownership.clock,
            disconnect_grace=settings.disconnect_grace,
        )
        self._records: WeakValueDictionary[str, TurnLog] = WeakValueDictionary()
        """The logs of ended turns that are being read, by the ids of the turns."""
        self._loading: dict[str, asyncio.Task[TurnLog]] = {}
        self._renewed = 0.0

    def configure(self, settings: TurnSettings, *, max_messages: int) -> None:
        """Use other settings. Turns that run keep their time limits and their grace after a disconnect."""
        self._settings = settings
        self._store.max_messages = max_messages
        self._queues.max_waiting = settings.max_queued
        self._dependencies = dataclasses.replace(self._dependencies, disconnect_grace=settings.disconnect_grace)

    # -- what callers do ----------------------------------------------------------------------------------------------

    async def attach(self, tenant: str, input: ChatInput | CompletionInput, quota: Quota | None) -> TurnReader | None:
        """A reader of the turn that the same request began before, if it runs or waits in this process. It counts as a
        request.

        Raises:
            RequestIdReused: its ``request_id`` belongs to another request.
        """
        options = input.options
        if not options.request_id:
            return None
        runner = self._live.of_request(tenant, input.service, options.session, options.request_id)
        if runner is None:
            return None
        check_digest(runner.turn, digest(tenant, input))
        if quota is not None:
            await self._store.count_replay(quota)
        return runner.reader(options.after_sequence or 0)

    async def open(self, request: TurnRequest) -> TurnReader:
        """Begin a turn, or find the one that its request began before; return a reader of it.

        The look-up of the ``request_id`` comes before everything else. What refuses a new turn in its claim is raised
        by the reader.

        Raises:
            RequestIdReused: the ``request_id`` belongs to another request.
            TurnNotFound: ``after_sequence`` is given, and there is no turn to resume.
            Draining: the server takes on nothing new.
            QuotaExceeded, Overloaded: the caller may begin nothing now.
        """
        try:
            reader, begun = await self._open(request)
        except BaseException:
            release(request.permit)
            raise
        if not begun:
            release(request.permit)
            if request.quota is not None:
                await self._store.count_replay(request.quota)
        return reader

    async def _open(self, request: TurnRequest) -> tuple[TurnReader, bool]:
        """The reader, and whether a turn has begun."""
        options = request.input.options
        after = options.after_sequence or 0
        refusal = self._refusal(request)
        turn = new_turn(request, self._ownership.clock, self._settings)
        if turn.request_id:
            reader = self._attached(turn, after)
            if reader is None and (refusal is not None or options.after_sequence is not None):
                found = await self._store.find(turn)
                reader = self._attached(turn, after)  # it may have come to life meanwhile
                if reader is None and found is not None and found.state in FINAL:
                    check_digest(found, turn.digest)
                    reader = await self._record(found, after)
                if reader is None and found is None and options.after_sequence is not None:
                    raise TurnNotFound(f"no turn has the request_id {turn.request_id!r}: there is nothing to resume")
            if reader is not None:
                return reader, False
            refusal = refusal or self._refusal(request)
        # Nothing is awaited between this and the start: a drain has either been seen here, or waits for the turn.
        if refusal is not None:
            raise refusal
        runner = TurnRunner(turn, request, self._dependencies)
        self._live.add(runner)
        if runner.turn.session:
            self._queues.join(runner)
        return runner.reader(after), True

    async def count_tokens(self, input: ChatInput, session: MCPSession | None, target: Target) -> TokenCount:
        """Count the tokens of the prompt that a chat would send to that model, as
        :func:`~mcp_server.turns.counting.count_tokens`."""
        conversation = self._store.conversation(session)
        return await count_tokens(input, conversation, target, self._dependencies.context_types)

    def count(self, state: TurnState) -> int:
        """How many turns that run or wait here are in that state; may be called on any thread."""
        return sum(runner.turn.state is state for runner in self._live if runner.exists)

    def check_draining(self) -> None:
        """Refuse new work while the server is about to stop.

        Raises:
            Draining: it is.
        """
        if self.draining:
            raise _draining()

    def _refusal(self, request: TurnRequest) -> MCPError | None:
        """Why no new turn may begin."""
        if self.draining:
            return _draining()
        return request.permit if isinstance(request.permit, MCPError) else None

    def _attached(self, turn: Turn, after: int) -> TurnReader | None:
        runner = self._live.of_request(turn.tenant, turn.service, turn.session, turn.request_id)
        if runner is None:
            return None
        check_digest(runner.turn, turn.digest)
        return runner.reader(after)

    async def _record(self, turn: Turn, after: int) -> TurnReader:
        """A reader of a turn that does not run here. All readers of one that has ended share its log."""
        if turn.state not in FINAL:
            return (await self._load(turn)).reader(after)
        record = self._records.get(turn.id)
        if record is None:
            loading = self._loading.get(turn.id)
            if loading is None:
                loading = self._loading[turn.id] = asyncio.create_task(self._share(turn))
                # All who wait for it may leave before it fails.
                loading.add_done_callback(lambda task: task.cancelled() or task.exception())
            record = await asyncio.shield(loading)
        return record.reader(after)

    async def _share(self, turn: Turn) -> TurnLog:
        try:
            record = self._records[turn.id] = await self._load(turn)
            return record
        finally:
            del self._loading[turn.id]

    async def _load(self, turn: Turn) -> TurnLog:
        pieces = await self._store.events(turn)
        if sum(map(len, pieces)) <= MAX_INLINE:
            return log_of(turn, pieces)
        return await asyncio.to_thread(log_of, turn, pieces)

    async def _whole(self, turn: Turn) -> Turn:
        """A stored turn with the parts of its message."""
        pieces = await self._store.events(turn)
        if sum(map(len, pieces)) <= MAX_INLINE:
            return whole(turn, pieces)
        return await asyncio.to_thread(whole, turn, pieces)

    def running(self) -> Sequence[Turn]:
        """The turns that run or wait in this process, as they are now, their messages without parts."""
        return [runner.present() for runner in self._live]

    async def get(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """A turn as it is now, with all parts of its message so far.

        Raises:
            TurnNotFound: there is none.
        """
        runner = self._find(tenant, session_id, turn_id)
        if runner is not None:
            return runner.snapshot()
        turn = await self._store.get(tenant, session_id, turn_id)
        return await self._whole(turn)

    async def list(self, session: MCPSession, *, limit: int, before: str) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session that are older than the one with the id ``before``, the newest first."""
        turns = await self._store.list(session, limit=limit, before=before)
        return [runner.present() if (runner := self._live.get(turn.id)) is not None else turn for turn in turns]

    async def read(self, tenant: str, session_id: str, turn_id: str, after_sequence: int) -> TurnReader:
        """A reader of a turn's events, live or from the record.

        Raises:
            TurnNotFound: there is no such turn.
        """
        while True:
            runner = self._find(tenant, session_id, turn_id)
            if runner is not None:
                return runner.reader(after_sequence)
            turn = await self._store.get(tenant, session_id, turn_id)
            if turn.state in FINAL or turn.id not in self._ownership.live:
                return await self._record(turn, after_sequence)
            await asyncio.sleep(0)  # it is being claimed or ends just now

    async def cancel(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """Stop a turn, and return it as it ended: cancelled, or otherwise if that came first.

        Raises:
            TurnNotFound: there is none.
        """
        name = turn_name(session_id, turn_id)
        error = TurnCancelled(f"the turn {name} was cancelled", metadata={"turn": name})
        runner = self._find(tenant, session_id, turn_id)
        while True:
            if runner is not None:
                runner.cancel(error)
                await asyncio.wait([runner.task])
                if (ended := runner.recorded()) is not None and ended.state in FINAL:
                    return ended
            turn = await self._store.get(tenant, session_id, turn_id)
            if turn.state not in FINAL:
                turn = await self._store.give_up(turn, error)
            if turn.state in FINAL:
                return await self._whole(turn)
            # It had been interrupted, and its request was sent again meanwhile; or it ends just now.
            await asyncio.sleep(0)
            runner = self._live.get(turn_id)

    async def hide(self, tenant: str, session_id: str, turn_id: str) -> None:
        """Let nobody find a turn any more. It is stopped if it runs; its messages stay in the history.

        Raises:
            TurnNotFound: there is none.
            InvalidArgument: its session has too many hidden turns.
        """
        turn = await self.cancel(tenant, session_id, turn_id)
        await self._store.hide(turn, int(self._settings.retention * SECOND))

    async def watch(self, session_id: str, caller: Caller, *, after_etag: str) -> SessionWatch:
        """Watch a session, as :meth:`~mcp_server.turns.watching.SessionWatches.watch`.

        Raises:
            SessionNotFound: there is none.
            Draining: the server is about to stop.
            Overloaded: too many watch it, or the caller watches too many.
        """
        self.check_draining()
        return await self._watches.watch(session_id, caller, after_etag)

    async def _unfinished(self, session: MCPSession) -> Sequence[Turn]:
        """The turns of a session that are queued or running, on any server, in the order of their ids."""
        stored = await self._store.list(session, limit=LAST_TURNS, before="")
        turns = {turn.id: turn for turn in stored}
        for runner in self._queues.of(session.tenant, session.id, session.uid):
            if runner.exists:
                turns[runner.turn.id] = runner.present()
        return [turns[id] for id in sorted(turns) if turns[id].state in UNFINISHED]

    def cancel_session(self, session: MCPSession) -> None:
        """Stop the turns of a session that was deleted; their readers end with SessionNotFound."""
        for runner in self._queues.of(session.tenant, session.id, session.uid):
            # Another session may have its id already, and request ids of its own.
            self._live.forget_request(runner)
            runner.deleted = True
            runner.cancel(claims.session_deleted(runner.turn))

    def _find(self, tenant: str, session_id: str, turn_id: str) -> TurnRunner | None:
        runner = self._live.get(turn_id)
        if runner is None or (runner.turn.tenant, runner.turn.session) != (tenant, session_id):
            return None
        return runner if runner.exists and not runner.deleted else None

    # -- background work and shutdown ---------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Make the turns INTERRUPTED whose process is gone, free their sessions, and count them."""
        return await self._store.recover()

    async def beat(self) -> None:
        """Without end: let readers that have heard nothing for a while know that their turn lives."""
        while True:
            # A reader gets a heartbeat at the second look that finds it waiting: after one interval at least.
            await asyncio.sleep(self._settings.heartbeat_interval)
            self._beat()
            with _logged("watched sessions not read"):
                await self._watches.beat()

    async def end_watches(self) -> None:
        """Without end: end the watches of sessions that have expired."""
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            with _logged("watched sessions not read"):
                await self._watches.end_expired()

    def _beat(self) -> None:  # a method of its own: while the loop sleeps, its frame would keep the last turn
        for runner in self._live:
            runner.log.beat()

    async def journal(self) -> None:
        """Without end: store what the running turns have generated, all of them together."""
        while True:
            await asyncio.sleep(self._settings.journal_interval)
            await asyncio.gather(*[runner.journal() for runner in self._live])
            await self._store.write_unrecorded()
            if self._ownership.shared:
                self._try_again()

    def _try_again(self) -> None:
        for runner in self._queues.heads():
            runner.try_again()

    async def renew_leases(self) -> None:
        """Without end, in a shared store: renew the leases of the turns that run here, stop those that could not be
        renewed in time, and interrupt those of servers that are gone.

        Returns at once in an exclusive store, where leases do not end.
        """
        lease = self._ownership.lease_seconds
        if lease is None:
            return
        loop = asyncio.get_running_loop()
        self._renewed = loop.time()
        while True:
            await asyncio.sleep(lease / 12)
            start = loop.time()
            if start - self._renewed >= lease / 4:
                try:
                    async with asyncio.timeout(lease / 12):
                        held = await self._store.renew()
                        self._renewed = start
                        await self._stop_lost(held, before=start)
                        await self._store.recover()
                except Exception as error:  # it is tried again; the turns are stopped if that takes too long
                    log.error("leases not renewed", exc_info=error)
            self._stop_unrenewed(loop.time() - lease * 2 / 3)

    async def _stop_lost(self, held: Collection[str], *, before: float) -> None:
        """Stop the turns that began before that time and whose lease this process does not hold any more."""
        for runner in self._live:
            if runner.exists and runner.lease_start < before and runner.turn.id not in held:
                runner.cancel(await self._store.loss(runner.turn))

    def _stop_unrenewed(self, before: float) -> None:
        """Stop the turns whose lease was taken or renewed last before that time."""
        for runner in self._live:
            if runner.exists and max(self._renewed, runner.lease_start) <= before:
                runner.cancel(claims.lease_lost(runner.turn))

    async def idle(self) -> None:
        """Return when no turn runs."""
        while len(self._live):
            await asyncio.wait([runner.task for runner in self._live])

    async def drain(self, timeout: float) -> None:
        """Let the running turns end for ``timeout`` seconds, then interrupt the others; return when all are stored."""
        self.draining = True
        self._watches.hub.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.idle()
        self.interrupt()
        await self.idle()

    def interrupt(self) -> None:
        """Stop all turns now: each keeps what it has, and can be run again elsewhere."""
        for runner in self._live:
            name = runner.turn.name
            runner.cancel(
                Draining("the server stops: send the same request again", metadata={"turn": name}, retry_after=1)
            )


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    """Log what fails, and go on: it is tried again."""
    try:
        yield
    except Exception as error:  # whatever a store raises
        log.error(event, exc_info=error)


def _draining() -> Draining:
    return Draining("the server is about to stop: send the same request again", retry_after=1)
