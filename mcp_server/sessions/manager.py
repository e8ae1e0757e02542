"""Sessions: create, read, change, expire; and who may write one now.

:class:`MCPSessionManager` holds the rules and leaves the keeping to a :class:`~mcp_server.interfaces.Store`. Each rule
that must hold with nothing in between (a claim, an etag, a limit) is decided inside the store's atomic step.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from mcp_server.errors import (
    EtagMismatch,
    InvalidArgument,
    Overloaded,
    SessionBusy,
    SessionExists,
    SessionNotFound,
    TurnCancelled,
    TurnNotFound,
    Violation,
)
from mcp_server.interfaces import Change, Changed, Decide, LookUp, RequestKey, SessionQuery, Store, Stored
from mcp_server.sessions.idempotency import check_receipt, digest_of, receipt_of, request_of
from mcp_server.values import (
    FINAL,
    SECOND,
    Attempt,
    Claim,
    Clock,
    ContextEntry,
    MCPSession,
    Message,
    Struct,
    Turn,
    TurnError,
    TurnState,
    turn_name,
)

MAX_CONTEXT_ENTRIES = 256
MAX_CONTEXT_BYTES = 1024 * 1024
LEASE_MARGIN = 30 * SECOND
"""How long a claim outlives the deadline of its turn: time to write down how it ended."""
SWEEP_BATCH = 500
"""How many sessions a sweep asks for at once."""

_UNFINISHED = frozenset((TurnState.QUEUED, TurnState.RUNNING))

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.sessions")


def new_name(prefix: str) -> str:
    """A fresh id that sorts by time, so that what is created together is stored together."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


class SessionDraft(Struct):
    """What a caller decides about a session."""

    ttl: int | None = None
    labels: Mapping[str, str] = {}
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


class Claimed(Struct):
    """What became of a turn that asked to begin."""

    turn: Turn
    """The turn as it is stored: RUNNING, or QUEUED if it has to wait; or ``earlier``."""
    session: MCPSession | None = None
    """The session as claimed; ``None`` for a turn without one, and for one that waits."""
    messages: tuple[Message, ...] = ()
    """The end of its history, oldest first."""
    earlier: bool = False
    """Whether the request has been seen before. ``turn`` is what it became then, and nothing was written."""


class Entry(Struct):
    """On which terms a turn may try to get its session."""

    wait: bool = False
    """Whether it is written down as QUEUED if it cannot have the session now; else it is refused then."""
    behind: str = ""
    """The full name of a turn that waits for the session and goes first, or empty."""
    full: bool = False
    """Whether as many turns wait as may."""


Admit = Callable[[MCPSession | None], Attempt]
"""Says which attempt a turn on that session will make, or raises what refuses the turn. Free of side effects."""


class MCPSessionManager:
    """The rules of sessions over a store.

    Args:
        store: an open store.
        owner: names this process in claims.
        clock: tells the time.
        default_ttl: nanoseconds that a session lives unused if it does not say; ``None``: for ever.
    """

    def __init__(
        self, store: Store, *, owner: str, clock: Clock = time.time_ns, default_ttl: int | None = None
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._default_ttl = default_ttl
        # The turns of this process that wait or run. A claim of ours that belongs to none of them is a leftover of a
        # turn whose last write failed, and binds nobody.
        self._unfinished: set[str] = set()

    # -- what callers do ----------------------------------------------------------------------------------------------

    async def create(
        self, tenant: str, session_id: str, draft: SessionDraft, *, request: RequestKey | None = None
    ) -> MCPSession:
        """Begin a session; an empty ``session_id`` lets the server choose. With a ``request`` that was carried out
        before, return the session that it began.

        Raises:
            SessionExists: the id is taken.
            RequestIdReused: the ``request`` was another one.
            InvalidArgument: the context is over its limits.
        """
        now = self._clock()
        _check_context(draft.context, "session.context")
        ttl = draft.ttl if draft.ttl is not None else self._default_ttl
        session = MCPSession(
            tenant=tenant,
            id=session_id or new_name("s"),
            uid=new_name("u"),
            create_time=now,
            update_time=now,
            etag=_new_etag(),
            ttl=ttl,
            expire_time=_expire_time(ttl, now),
            labels=draft.labels,
            metadata=draft.metadata,
            system_instruction=draft.system_instruction,
            default_model=draft.default_model,
            context=draft.context,
        )

        digest = digest_of("create", session_id, draft) if request is not None else b""
        return await self._begin(session, request, digest, lambda _: Change(session=session))

    async def fork(
        self,
        tenant: str,
        session_id: str,
        *,
        new_id: str,
        message_count: int | None,
        request: RequestKey | None = None,
    ) -> MCPSession:
        """Begin a session with the first messages of another, and all that its caller decided about that.

        Args:
            tenant: whose they are.
            session_id: the session to fork.
            new_id: the id of the new one; empty: the server chooses.
            message_count: how many messages to keep; ``None``: all.
            request: as in :meth:`create`.

        Raises:
            SessionNotFound: there is no session to fork.
            SessionExists: the new id is taken.
            RequestIdReused: the ``request`` was another one.
            InvalidArgument: the history is shorter.
        """
        now = self._clock()
        draft = MCPSession(
            tenant=tenant,
            id=new_id or new_name("s"),
            uid=new_name("u"),
            create_time=now,
            update_time=now,
            etag=_new_etag(),
            parent=session_id,
        )

        def decide(stored: Stored) -> Change:
            parent = self._live(stored.other, session_id)
            count = parent.message_count if message_count is None else message_count
            if count > parent.message_count:
                problem = f"{count}, but {parent.name} has {parent.message_count} messages"
                raise InvalidArgument([Violation(field="message_count", description=problem)])
            session = replace(
                draft,
                ttl=parent.ttl,
                expire_time=_expire_time(parent.ttl, now),
                labels=parent.labels,
                metadata=parent.metadata,
                system_instruction=parent.system_instruction,
                default_model=parent.default_model,
                context=parent.context,
                message_count=count,
            )
            return Change(session=session, fork_of=parent.uid if count else "")

        digest = digest_of("fork", session_id, new_id, message_count) if request is not None else b""
        return await self._begin(draft, request, digest, decide, other=session_id)

    async def _begin(
        self, draft: MCPSession, request: RequestKey | None, digest: bytes, decide: Decide, *, other: str = ""
    ) -> MCPSession:
        """Write a new session, unless the request has done that before."""
        tenant, now = draft.tenant, self._clock()

        def begin(stored: Stored) -> Change:
            if stored.receipt is not None:
                check_receipt(stored.receipt, digest)
                return Change()
            old = stored.session
            if old is not None and not old.expired(now):
                raise SessionExists(
                    f"the session {old.name} exists: choose another session_id, or go on with that session",
                    metadata={"session": old.name},
                )
            change = decide(stored)
            if request is None:
                return change
            return replace(change, receipt=receipt_of(_new(change), request, digest, now))

        changed = await self._store.change(tenant, draft.id, begin, LookUp(receipt=request, other=other))
        receipt = changed.stored.receipt
        if receipt is None:
            return _session(changed)
        session = await self.get(tenant, receipt.session)
        if session.uid != receipt.session_uid:
            raise _not_found(receipt.session)
        return session

    async def get(self, tenant: str, session_id: str) -> MCPSession:
        """The session as it is now.

        Raises:
            SessionNotFound: there is none, or it has expired.
        """
        return self._live(await self._store.session(tenant, session_id), session_id)

    async def list(
        self,
        tenant: str,
        *,
        limit: int,
        labels: Mapping[str, str],
        newest_first: bool,
        after: tuple[int, str] | None,
    ) -> Sequence[MCPSession]:
        """Up to ``limit`` sessions in the order of their creation, behind the ``(create_time, uid)`` of ``after``."""
        query = SessionQuery(
            tenant=tenant, now=self._clock(), limit=limit, labels=labels, newest_first=newest_first, after=after
        )
        return await self._store.sessions(query)

    async def update(self, tenant: str, session_id: str, update: SessionUpdate) -> MCPSession:
        """Change a session in one step and renew its ttl.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: it has changed since the caller read it.
            InvalidArgument: the context would exceed its limits.
        """

        def decide(stored: Stored) -> Change:
            session = self._live(stored.session, session_id)
            _check_etag(session, update.etag)
            fields = dict(update.fields)
            if "ttl" in fields and fields["ttl"] is None:
                fields["ttl"] = self._default_ttl
            if update.set_context or update.remove_context:
                kept = {name: entry for name, entry in session.context.items() if name not in update.remove_context}
                fields["context"] = {**kept, **update.set_context}
            if "context" in fields:
                _check_context(fields["context"], "set_context" if update.set_context else "session.context")
            session = replace(session, **fields)
            return Change(session=self._touched(session, content=True))

        return _session(await self._store.change(tenant, session_id, decide))

    async def delete(self, tenant: str, session_id: str, *, etag: str = "") -> MCPSession:
        """Remove a session and all that belongs to it, and return it as it was.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: it has changed since the caller read it.
        """

        def decide(stored: Stored) -> Change:
            _check_etag(self._live(stored.session, session_id), etag)
            return Change(delete=True)

        changed = await self._store.change(tenant, session_id, decide)
        assert changed.stored.session is not None
        return changed.stored.session

    async def append(
        self,
        tenant: str,
        session_id: str,
        messages: Sequence[Message],
        *,
        etag: str = "",
        request: RequestKey | None = None,
    ) -> tuple[MCPSession, int]:
        """Add messages to the end of the history, all or none; return the session and the index of the first of them.

        With a ``request`` that was carried out before, nothing is added again.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: a turn runs on it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the ``request`` was another one.
        """
        digest = digest_of("append", messages, etag) if request is not None else b""

        def decide(stored: Stored) -> Change:
            session = self._live(stored.session, session_id)
            if stored.receipt is not None:
                check_receipt(stored.receipt, digest)
                return Change()
            _check_etag(session, etag)
            self._check_free(session)
            first = session.message_count
            session, appended = self._appended(session, messages)
            receipt = None
            if request is not None:
                receipt = receipt_of(session, request, digest, self._clock(), first_index=first)
            return Change(session=self._touched(session, content=True), append=appended, receipt=receipt)

        changed = await self._store.change(tenant, session_id, decide, LookUp(receipt=request))
        receipt = changed.stored.receipt
        if receipt is not None:
            assert changed.stored.session is not None
            return changed.stored.session, receipt.first_index
        session = _session(changed)
        return session, session.message_count - len(messages)

    async def messages(self, session: MCPSession, start: int, stop: int) -> Sequence[Message]:
        """The messages of ``session`` with ``start <= index < stop``, in order; none if it is gone by now."""
        return await self._store.messages(session.tenant, session.uid, start, stop)

    async def touch(self, tenant: str, session_id: str) -> MCPSession:
        """Renew the ttl of a session that is used.

        Raises:
            SessionNotFound: there is none.
        """
        return _session(
            await self._store.change(
                tenant,
                session_id,
                lambda stored: Change(session=self._touched(self._live(stored.session, session_id))),
            )
        )

    # -- what turns do ------------------------------------------------------------------------------------------------

    async def find(self, turn: Turn) -> Turn | None:
        """The turn that the request of ``turn`` became before, if it did.

        Raises:
            SessionNotFound: there is no such session.
        """

        def decide(stored: Stored) -> Change:
            if turn.session:
                self._live(stored.session, turn.session)
            return Change()

        changed = await self._store.change(turn.tenant, turn.session, decide, LookUp(request=request_of(turn)))
        return changed.stored.turn

    async def claim(
        self, turn: Turn, entry: Entry, *, deadline: int, etag: str, read_last: int, admit: Admit
    ) -> Claimed:
        """Write the turn down, reserve its session for it if it has one, and read the end of the history: one durable
        step. A turn that was interrupted, or has waited, begins in the same way.

        Args:
            turn: the turn, whose ``session`` names the session.
            entry: on which terms.
            deadline: when the turn ends at the latest.
            etag: if set, the etag that the session must have, unless the turn was interrupted.
            read_last: how many messages of the history to read.
            admit: asked with the session.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: another turn runs on it.
            EtagMismatch: it has changed since the caller read it.
            Overloaded: too many turns wait for it.
        """
        turn = replace(turn, owner=self._owner)

        def decide(stored: Stored) -> Change:
            session = self._live(stored.session, turn.session) if turn.session else None
            if session is not None and turn.session_uid not in ("", session.uid):
                raise _not_found(turn.session)  # the one that it waited for was deleted, and another has the name
            earlier = stored.turn
            if earlier is not None and (earlier.id != turn.id or earlier.state in FINAL):
                return Change()
            if session is None:
                return Change(turn=_running(turn, admit(None)))
            if turn.state is not TurnState.INTERRUPTED:
                _check_etag(session, etag)
            holder = self._holder(session, but=turn.id) or entry.behind
            if holder and not entry.wait:
                raise SessionBusy(
                    f"{session.name} is busy with the turn {holder}: wait until it has ended, then send the call again",
                    metadata={"session": session.name, "turn": holder},
                )
            attempt = admit(session)
            if holder:
                if entry.full:
                    raise Overloaded(
                        f"too many turns wait for {session.name}: send the call again later",
                        metadata={"session": session.name},
                        retry_after=1,
                    )
                queued = replace(turn, session_uid=session.uid, state=TurnState.QUEUED, waited=True)
                return Change(session=self._touched(session), turn=queued)
            fence = session.fence + 1
            claim = Claim(turn=turn.id, owner=self._owner, fence=fence, expire_time=deadline + LEASE_MARGIN)
            return Change(
                session=replace(self._touched(session), claim=claim, fence=fence),
                turn=_running(replace(turn, session_uid=session.uid), attempt),
                read_last=read_last,
            )

        self._unfinished.add(turn.id)
        begun = False
        try:
            look_up = LookUp(request=request_of(turn)) if turn.request_id else LookUp()
            changed = await self._store.change(turn.tenant, turn.session, decide, look_up)
            written = changed.change.turn
            if written is None:
                earlier = changed.stored.turn
                assert earlier is not None
                return Claimed(turn=earlier if earlier.state in FINAL else _left_behind(earlier), earlier=True)
            begun = True
            session = changed.change.session if written.state is TurnState.RUNNING else None
            return Claimed(session=session, turn=written, messages=changed.messages)
        finally:
            if not begun:
                # Refused. If the claim was written all the same, it now counts as a leftover.
                self._unfinished.discard(turn.id)

    async def journal(self, turn: Turn, events: bytes) -> None:
        """Write down how far a turn is: the turn as it is now, and a further piece of its log."""

        def decide(stored: Stored) -> Change:
            if turn.session and (stored.session is None or stored.session.uid != turn.session_uid):
                return Change()
            return Change(turn=turn, events=events)

        await self._store.change(turn.tenant, turn.session, decide)

    async def commit(
        self,
        turn: Turn,
        messages: Sequence[Message],
        *,
        events: bytes = b"",
        save_as: Mapping[str, ContextEntry] | None = None,
    ) -> tuple[Turn, Sequence[Message]]:
        """End a turn that succeeded: write it and all that it brings, and free its session, in one step.

        Args:
            turn: the turn as it ends; the last of ``messages``, if there are any, is its answer.
            messages: what goes into the history.
            events: the last piece of its log.
            save_as: what goes into the context.

        Returns:
            The turn and the messages as they are stored.

        Raises:
            SessionNotFound: the session went while the turn ran.
            TurnCancelled: the claim was lost to another turn.
            InvalidArgument: the context would exceed its limits.
        """

        def decide(stored: Stored) -> Change:
            session = self._claimed(stored.session, turn)
            appended: tuple[Message, ...] = ()
            ended = turn
            if messages:
                session, appended = self._appended(session, messages, turn=turn.name)
                # Its parts are in the log.
                ended = replace(turn, message=replace(appended[-1], parts=()))
            if save_as:
                context = {**session.context, **save_as}
                _check_context(context, "save_as")
                session = replace(session, context=context)
            session = self._touched(session, content=bool(messages or save_as))
            ended = replace(ended, session_etag=session.etag)
            return Change(session=replace(session, claim=None), append=appended, turn=ended, events=events)

        changed = await self._store.change(turn.tenant, turn.session, decide)
        self._unfinished.discard(turn.id)
        assert changed.change.turn is not None
        return changed.change.turn, changed.change.append

    async def release(self, turn: Turn, events: bytes = b"", *, unless_succeeded: bool = False) -> Turn:
        """Write down how a turn ended, with the last piece of its log, and give its session, if it has one, free; the
        history stays as it was. With ``unless_succeeded``, nothing is written if it has succeeded by the record.

        Returns:
            The turn by the record.
        """

        def decide(stored: Stored) -> Change:
            session = stored.session
            if stored.turn is not None and stored.turn.state is TurnState.SUCCEEDED:
                return Change()
            ended = Change(turn=turn, events=events)
            if not turn.session:
                return ended
            try:
                session = self._claimed(session, turn)
            except (SessionNotFound, TurnCancelled):
                # The session went, and its turns with it; or another turn has it now, which must not be disturbed.
                return ended if session is not None and session.uid == turn.session_uid else Change()
            return replace(ended, session=replace(self._touched(session), claim=None))

        look_up = LookUp(turn=turn.id) if unless_succeeded else LookUp()
        try:
            changed = await self._store.change(turn.tenant, turn.session, decide, look_up)
            return changed.change.turn or changed.stored.turn or turn
        finally:
            self._unfinished.discard(turn.id)

    def let_go(self, turn: Turn) -> None:
        """This process runs the turn no more, and cannot write down how it ended."""
        self._unfinished.discard(turn.id)

    # -- turns that are kept ------------------------------------------------------------------------------------------

    async def turn(self, tenant: str, session_id: str, turn_id: str) -> Turn:
        """A turn as it is stored, its message without parts.

        Raises:
            TurnNotFound: there is none, or its session is gone.
        """
        turn = await self._store.turn(tenant, turn_id)
        if turn is not None and turn.session == session_id:
            if not session_id:
                return await self._as_it_is(turn)
            session = await self._store.session(tenant, session_id)
            if session is not None and session.uid == turn.session_uid and not session.expired(self._clock()):
                return await self._as_it_is(turn)
        raise _turn_not_found(turn_name(session_id, turn_id))

    async def turns(self, session: MCPSession, *, limit: int, before: str) -> Sequence[Turn]:
        """Up to ``limit`` turns of a session that are older than the one with the id ``before``, the newest first."""
        turns = await self._store.turns(session.tenant, session.uid, limit, before)
        return [await self._as_it_is(turn) for turn in turns]

    async def _as_it_is(self, turn: Turn) -> Turn:
        """A stored turn; one of this process that runs by the record alone, since its end could not be written, has
        been interrupted."""
        if not self._is_left_behind(turn):
            return turn
        # It may have ended since it was read. Now that it runs no more, the record does not change by itself.
        turn = await self._store.turn(turn.tenant, turn.id) or turn
        return _left_behind(turn) if self._is_left_behind(turn) else turn

    def _is_left_behind(self, turn: Turn) -> bool:
        return turn.state in _UNFINISHED and turn.owner == self._owner and not self._is_ours(turn)

    def _is_ours(self, turn: Turn) -> bool:
        """Whether this process runs it, or lets it wait."""
        return turn.state in _UNFINISHED and turn.id in self._unfinished

    async def events(self, turn: Turn) -> Sequence[bytes]:
        """The pieces of the log of a turn.

        Raises:
            TurnNotFound: since the turn was read, it has been forgotten.
        """
        pieces = await self._store.events(turn.tenant, turn.id)
        if not pieces and turn.message is not None and not turn.message.parts:
            raise _turn_not_found(turn.name)
        return pieces

    async def give_up(self, turn: Turn, error: TurnError) -> Turn:
        """Make a turn that no process runs CANCELLED, unless it has ended otherwise or runs again; return it as it is
        then."""

        def decide(stored: Stored) -> Change:
            found = stored.turn
            if found is None or (turn.session and (stored.session is None or stored.session.uid != turn.session_uid)):
                raise _turn_not_found(turn.name)
            if found.state in FINAL or self._is_ours(found):
                return Change()
            cancelled = replace(found, state=TurnState.CANCELLED, error=error, end_time=self._clock())
            session = stored.session
            if session is None or session.claim is None or session.claim.turn != turn.id:
                return Change(turn=cancelled)
            return Change(session=replace(self._touched(session), claim=None), turn=cancelled)

        changed = await self._store.change(turn.tenant, turn.session, decide, LookUp(turn=turn.id))
        ended = changed.change.turn or changed.stored.turn
        assert ended is not None
        return ended

    # -- what time does -----------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """After a start: mark turns that another process left behind INTERRUPTED, free their sessions, and count."""
        count, full = 0, True
        while full:
            left = await self._store.interrupted(self._owner, SWEEP_BATCH)
            await asyncio.gather(*[self._interrupted(turn) for turn in left])
            count += len(left)
            full = len(left) == SWEEP_BATCH
        return count

    async def _interrupted(self, turn: Turn) -> None:
        await self.release(replace(_left_behind(turn), end_time=self._clock()))

    async def sweep(self, turn_retention: int) -> int:
        """Delete the sessions that have expired and the turns that ended ``turn_retention`` ago; count the sessions."""
        now = self._clock()

        def decide(stored: Stored) -> Change:
            return Change(delete=stored.session is not None and stored.session.expired(now))

        count = 0
        while expired := await self._store.expired(now, SWEEP_BATCH):
            changes = await asyncio.gather(*[self._store.change(tenant, name, decide) for tenant, name in expired])
            deleted = sum(changed.change.delete for changed in changes)
            count += deleted
            if deleted < len(expired):
                break  # The rest has a turn running.
        while await self._store.forget(now - turn_retention, SWEEP_BATCH) >= SWEEP_BATCH:
            continue
        return count

    # -- rules --------------------------------------------------------------------------------------------------------

    def _live(self, session: MCPSession | None, session_id: str) -> MCPSession:
        if session is None or session.expired(self._clock()):
            raise _not_found(session_id)
        return session

    def _holder(self, session: MCPSession, *, but: str = "") -> str:
        """The full name of the turn that has the session, or nothing; the turn ``but`` is not in its own way."""
        claim = session.claim
        if claim is None or claim.expire_time <= self._clock() or claim.turn == but:
            return ""
        if claim.owner == self._owner and claim.turn not in self._unfinished:
            return ""
        return turn_name(session.id, claim.turn)

    def _check_free(self, session: MCPSession) -> None:
        if holder := self._holder(session):
            raise SessionBusy(
                f"{session.name} is busy with the turn {holder}: wait until it has ended, then send the call again",
                metadata={"session": session.name, "turn": holder},
            )

    def _claimed(self, session: MCPSession | None, turn: Turn) -> MCPSession:
        if session is None or session.uid != turn.session_uid:
            raise SessionNotFound(
                f"the session sessions/{turn.session} was deleted while the turn ran",
                metadata={"session": f"sessions/{turn.session}", "turn": turn.name},
            )
        if session.claim is None or session.claim.turn != turn.id:
            raise TurnCancelled(f"the turn {turn.name} lost its session to a later one", metadata={"turn": turn.name})
        return session

    def _touched(self, session: MCPSession, *, content: bool = False) -> MCPSession:
        """The session after a use: its ttl renewed and, if its content changed, its etag and time."""
        now = self._clock()
        expire_time = _expire_time(session.ttl, now)
        if content:
            return replace(session, expire_time=expire_time, update_time=now, etag=_new_etag())
        return replace(session, expire_time=expire_time)

    def _appended(
        self, session: MCPSession, messages: Sequence[Message], *, turn: str = ""
    ) -> tuple[MCPSession, tuple[Message, ...]]:
        now, first = self._clock(), session.message_count
        appended = tuple(
            [
                replace(message, index=index, id=f"m{index}", create_time=now, turn=turn)
                for index, message in enumerate(messages, first)
            ]
        )
        return replace(session, message_count=first + len(appended)), appended


def _left_behind(turn: Turn) -> Turn:
    """A turn that nobody runs any more."""
    if turn.state is TurnState.INTERRUPTED:
        return turn
    error = TurnError(reason="TURN_INTERRUPTED", message="the process that ran the turn died")
    attempts = turn.attempts
    if attempts and attempts[-1].outcome is TurnState.RUNNING:
        attempts = (*attempts[:-1], replace(attempts[-1], outcome=TurnState.INTERRUPTED, error=error))
    return replace(turn, state=TurnState.INTERRUPTED, error=error, attempts=attempts)


def _running(turn: Turn, attempt: Attempt) -> Turn:
    return replace(
        turn, state=TurnState.RUNNING, end_time=None, error=None, message=None, attempts=(*turn.attempts, attempt)
    )


def _not_found(session_id: str) -> SessionNotFound:
    return SessionNotFound(
        f"there is no session sessions/{session_id}: it was never created, was deleted, or has expired",
        metadata={"session": f"sessions/{session_id}"},
    )


def _turn_not_found(name: str) -> TurnNotFound:
    return TurnNotFound(
        f"there is no turn {name}: it never was, its session is gone, or it is kept no longer", metadata={"turn": name}
    )


def _session(changed: Changed) -> MCPSession:
    return _new(changed.change)


def _new(change: Change) -> MCPSession:
    assert change.session is not None
    return change.session


def _new_etag() -> str:
    return secrets.token_hex(8)


def _expire_time(ttl: int | None, now: int) -> int | None:
    return None if ttl is None else now + ttl


def _check_etag(session: MCPSession, etag: str) -> None:
    if etag and etag != session.etag:
        raise EtagMismatch(
            f"{session.name} has changed since it was read (etag {session.etag}, not {etag}): read it again",
            metadata={"session": session.name, "etag": session.etag},
        )


def _check_context(context: Mapping[str, ContextEntry], field: str) -> None:
    if len(context) > MAX_CONTEXT_ENTRIES:
        raise InvalidArgument(
            [
                Violation(
                    field=field, description=f"{len(context)} entries in all; at most {MAX_CONTEXT_ENTRIES} are kept"
                )
            ]
        )
    size = sum([len(name.encode()) + _entry_bytes(entry) for name, entry in context.items()])
    if size > MAX_CONTEXT_BYTES:
        raise InvalidArgument(
            [Violation(field=field, description=f"{size} bytes in all; at most {MAX_CONTEXT_BYTES} are kept")]
        )


def _entry_bytes(entry: ContextEntry) -> int:
    """About the size of an entry on the wire, where JSON takes more room than in a store."""
    return len(entry.text.encode()) + len(entry.data) + (_json_bytes(entry.json) if entry.kind == "json" else 0)


def _json_bytes(value: Any) -> int:
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, Mapping):
        return 8 + sum([16 + len(key.encode()) + _json_bytes(item) for key, item in value.items()])
    if isinstance(value, list):
        return 8 + sum([_json_bytes(item) for item in value])
    return 12
