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
    SessionBusy,
    SessionExists,
    SessionNotFound,
    TurnCancelled,
    Violation,
)
from mcp_server.interfaces import Change, SessionQuery, Store
from mcp_server.messages import (
    SECOND,
    Claim,
    ContextEntry,
    MCPSession,
    Message,
    Struct,
    Turn,
    TurnError,
    TurnState,
    turn_name,
)

Clock = Callable[[], int]
"""Tells the time in nanoseconds since the Unix epoch."""

MAX_CONTEXT_ENTRIES = 256
MAX_CONTEXT_BYTES = 1024 * 1024
LEASE_MARGIN = 30 * SECOND
"""How long a claim outlives the deadline of its turn: time to write down how it ended."""
SWEEP_BATCH = 500
"""How many sessions a sweep asks for at once."""

replace = msgspec.structs.replace
log = structlog.get_logger("contextprotocol.sessions")


def new_id(prefix: str) -> str:
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
    """A session on which a turn may run."""

    session: MCPSession | None
    """The session as claimed; ``None`` for a turn without one."""
    turn: Turn
    """The turn as stored."""
    messages: tuple[Message, ...] = ()
    """The end of its history, oldest first."""


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
        # The turns of this process that hold a claim. A claim of ours that is not among them is a leftover of a turn
        # whose last write failed, and binds nobody.
        self._claiming: set[str] = set()

    # -- what callers do ----------------------------------------------------------------------------------------------

    async def create(self, tenant: str, session_id: str, draft: SessionDraft) -> MCPSession:
        """Begin a session; an empty ``session_id`` lets the server choose.

        Raises:
            SessionExists: the id is taken.
            InvalidArgument: the context is over its limits.
        """
        now = self._clock()
        _check_context(draft.context, "session.context")
        ttl = draft.ttl if draft.ttl is not None else self._default_ttl
        session = MCPSession(
            tenant=tenant,
            id=session_id or new_id("s"),
            uid=new_id("u"),
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

        def decide(old: MCPSession | None) -> Change:
            if old is not None and not old.expired(now):
                raise SessionExists(
                    f"the session {old.name} exists: choose another session_id, or go on with that session",
                    metadata={"session": old.name},
                )
            return Change(session=session)

        await self._store.change(tenant, session.id, decide)
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

        def decide(old: MCPSession | None) -> Change:
            session = self._live(old, session_id)
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
        found: list[MCPSession] = []

        def decide(old: MCPSession | None) -> Change:
            session = self._live(old, session_id)
            _check_etag(session, etag)
            found[:] = [session]
            return Change(delete=True)

        await self._store.change(tenant, session_id, decide)
        return found[0]

    async def append(self, tenant: str, session_id: str, messages: Sequence[Message], *, etag: str = "") -> MCPSession:
        """Add messages to the end of the history: all or none. The last ones of the returned session are these.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: a turn runs on it.
            EtagMismatch: it has changed since the caller read it.
        """

        def decide(old: MCPSession | None) -> Change:
            session = self._live(old, session_id)
            _check_etag(session, etag)
            self._check_free(session)
            session, appended = self._appended(session, messages)
            return Change(session=self._touched(session, content=True), append=appended)

        return _session(await self._store.change(tenant, session_id, decide))

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
                tenant, session_id, lambda old: Change(session=self._touched(self._live(old, session_id)))
            )
        )

    # -- what turns do ------------------------------------------------------------------------------------------------

    async def begin(self, turn: Turn) -> Claimed:
        """Write down a turn that belongs to no session."""
        turn = replace(turn, owner=self._owner)
        await self._store.change(turn.tenant, "", lambda _: Change(turn=turn))
        return Claimed(session=None, turn=turn)

    async def claim(
        self, turn: Turn, *, deadline: int, etag: str, read_last: int, admit: Callable[[MCPSession], object]
    ) -> Claimed:
        """Reserve the turn's session for it, write the turn down, and read the end of the history: one durable step.

        Args:
            turn: the turn, whose ``session`` names the session.
            deadline: when the turn ends at the latest.
            etag: if set, the etag that the session must have.
            read_last: how many messages of the history to read.
            admit: raises if the session does not allow this turn; must be free of side effects.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: another turn runs on it.
            EtagMismatch: it has changed since the caller read it.
        """

        def decide(old: MCPSession | None) -> Change:
            session = self._live(old, turn.session)
            _check_etag(session, etag)
            self._check_free(session)
            admit(session)
            fence = session.fence + 1
            claim = Claim(turn=turn.id, owner=self._owner, fence=fence, expire_time=deadline + LEASE_MARGIN)
            return Change(
                session=replace(self._touched(session), claim=claim, fence=fence),
                turn=replace(turn, session_uid=session.uid, owner=self._owner),
                read_last=read_last,
            )

        self._claiming.add(turn.id)
        try:
            changed = await self._store.change(turn.tenant, turn.session, decide)
        except BaseException:
            # Cancelled or refused. If the claim was written all the same, it now counts as a leftover.
            self._claiming.discard(turn.id)
            raise
        assert changed.change.turn is not None
        return Claimed(session=_session(changed), turn=changed.change.turn, messages=changed.messages)

    async def commit(
        self, turn: Turn, messages: Sequence[Message], *, save_as: Mapping[str, ContextEntry] | None = None
    ) -> tuple[MCPSession, Sequence[Message]]:
        """End a turn that succeeded: write it and all that it brings, and free its session, in one step.

        Returns the session, and the messages as they are stored.

        Raises:
            SessionNotFound: the session went while the turn ran.
            TurnCancelled: the claim was lost to another turn.
            InvalidArgument: the context would exceed its limits.
        """

        def decide(old: MCPSession | None) -> Change:
            session = self._claimed(old, turn)
            appended: tuple[Message, ...] = ()
            if messages:
                session, appended = self._appended(session, messages, turn=turn.id)
            if save_as:
                context = {**session.context, **save_as}
                _check_context(context, "save_as")
                session = replace(session, context=context)
            session = self._touched(session, content=bool(messages or save_as))
            return Change(session=replace(session, claim=None), append=appended, turn=turn)

        changed = await self._store.change(turn.tenant, turn.session, decide)
        self._claiming.discard(turn.id)
        return _session(changed), changed.change.append

    async def release(self, turn: Turn) -> None:
        """Write down how a turn ended and give its session, if it has one, free; the history stays as it was."""

        def decide(old: MCPSession | None) -> Change:
            if not turn.session:
                return Change(turn=turn)
            try:
                session = self._claimed(old, turn)
            except (SessionNotFound, TurnCancelled):
                # The session went, and its turns with it; or another turn has it now, which must not be disturbed.
                return Change(turn=turn if old is not None and old.uid == turn.session_uid else None)
            return Change(session=replace(self._touched(session), claim=None), turn=turn)

        try:
            await self._store.change(turn.tenant, turn.session, decide)
        finally:
            self._claiming.discard(turn.id)

    # -- what time does -----------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """After a start: mark turns that another process left running INTERRUPTED, free their sessions, and count."""
        error = TurnError(reason="TURN_INTERRUPTED", message="the process that ran the turn died")
        count, full = 0, True
        while full:
            left = await self._store.interrupted(self._owner, SWEEP_BATCH)
            ended = [replace(turn, state=TurnState.INTERRUPTED, end_time=self._clock(), error=error) for turn in left]
            await asyncio.gather(*[self.release(turn) for turn in ended])
            count += len(left)
            full = len(left) == SWEEP_BATCH
        return count

    async def sweep(self, turn_retention: int) -> int:
        """Delete the sessions that have expired and the turns that ended ``turn_retention`` ago; count the sessions."""
        now = self._clock()

        def decide(old: MCPSession | None) -> Change:
            return Change(delete=old is not None and old.expired(now))

        count = 0
        while expired := await self._store.expired(now, SWEEP_BATCH):
            changes = await asyncio.gather(*[self._store.change(tenant, name, decide) for tenant, name in expired])
            deleted = sum(changed.change.delete for changed in changes)
            count += deleted
            if deleted < len(expired):
                break  # The rest has a turn running.
        while await self._store.forget_turns(now - turn_retention, SWEEP_BATCH) == SWEEP_BATCH:
            continue
        return count

    # -- rules --------------------------------------------------------------------------------------------------------

    def _live(self, session: MCPSession | None, session_id: str) -> MCPSession:
        if session is None or session.expired(self._clock()):
            raise SessionNotFound(
                f"there is no session sessions/{session_id}: it was never created, was deleted, or has expired",
                metadata={"session": f"sessions/{session_id}"},
            )
        return session

    def _check_free(self, session: MCPSession) -> None:
        claim = session.claim
        if claim is None or claim.expire_time <= self._clock():
            return
        if claim.owner == self._owner and claim.turn not in self._claiming:
            return
        name = turn_name(session.id, claim.turn)
        raise SessionBusy(
            f"{session.name} is busy with the turn {name}: wait until it has ended, then send the call again",
            metadata={"session": session.name, "turn": name},
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


def _session(changed: Any) -> MCPSession:
    session: MCPSession | None = changed.change.session
    assert session is not None
    return session


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
