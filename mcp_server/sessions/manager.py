"""Sessions: create, read, change, fork, rewind, delete and expire.

:class:`MCPSessionManager` holds the rules; a :class:`~mcp_server.interfaces.Store` keeps the sessions. A rule that must
hold at the moment of the write (an etag, a limit, a running turn) is checked inside the store's atomic step.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from mcp_server.errors import SessionExists
from mcp_server.interfaces import Change, Changed, Decide, LookUp, RequestKey, SessionQuery, Store, Stored
from mcp_server.quotas import Quota, check_stored, queries
from mcp_server.rules import check_context, check_cut, check_tool_results, open_calls
from mcp_server.sessions.changes import (
    appended,
    check_count,
    check_etag,
    existing,
    expire_time,
    fresh_id,
    new_etag,
    not_found,
    touched,
    with_hidden_turn,
)
from mcp_server.sessions.history_end import HistoryChanged, HistoryEnd, history_end
from mcp_server.sessions.hub import SessionHub
from mcp_server.sessions.idempotency import check_receipt, digest_of, receipt_of
from mcp_server.sessions.ownership import Ownership, session_busy
from mcp_server.settings.tables import SessionSettings
from mcp_server.token_estimates import tokens_of_instruction
from mcp_server.values import SECOND, MCPSession, Message, SessionDraft, SessionUpdate, TurnState, with_states_of

SWEEP_BATCH: Final = 500
"""How many sessions a sweep asks for at once."""

_LAST_TURNS: Final = 100
"""How many of the last turns of a session are searched for one that waits."""

replace = msgspec.structs.replace


class MCPSessionManager:
    """The rules of sessions over a store.

    Args:
        store: an open store.
        ownership: says which turns bind their sessions, and tells the time.
        settings: how long sessions live.
        hub: publishes changes to the watchers of sessions.
    """

    def __init__(
        self, store: Store, ownership: Ownership, settings: SessionSettings, *, hub: SessionHub | None = None
    ) -> None:
        self._store = store
        self._change = partial((hub or SessionHub()).change, store)
        self._ownership = ownership
        self._clock = ownership.clock
        self.configure(settings)

    def configure(self, settings: SessionSettings) -> None:
        """Use other settings for sessions that are created from now on."""
        ttl = settings.default_ttl
        self._default_ttl = None if ttl is None else int(ttl * SECOND)

    async def create(
        self,
        tenant: str,
        session_id: str,
        draft: SessionDraft,
        *,
        request: RequestKey | None = None,
        key: str = "",
        quota: Quota | None = None,
    ) -> MCPSession:
        """Begin a session; an empty ``session_id`` lets the server choose. With a ``request`` that was carried out
        before, return the session that it began.

        Args:
            tenant: whose it is.
            session_id: its id, or empty.
            draft: what the caller decides.
            request: makes the call safe to retry.
            key: the id of the caller's API key, or empty.
            quota: the caller's limits.

        Raises:
            SessionExists: the id is taken.
            RequestIdReused: the key of ``request`` was used for a different request.
            InvalidArgument: the context is over its limits.
            QuotaExceeded: the caller may store no further session.
        """
        now = self._clock()
        check_context(draft.context, "session.context")
        ttl = draft.ttl if draft.ttl is not None else self._default_ttl
        session = MCPSession(
            tenant=tenant,
            id=session_id or fresh_id("s"),
            uid=fresh_id("u"),
            create_time=now,
            update_time=now,
            etag=new_etag(),
            ttl=ttl,
            expire_time=expire_time(ttl, now),
            labels=draft.labels,
            metadata=draft.metadata,
            system_instruction=draft.system_instruction,
            default_model=draft.default_model,
            context=draft.context,
            key=key,
        )
        session = replace(session, tokens=tokens_of_instruction(session))
        digest = digest_of("create", session_id, draft) if request is not None else b""
        return await self._begin(session, request, digest, lambda _: Change(session=session), quota=quota)

    async def fork(
        self,
        tenant: str,
        session_id: str,
        *,
        new_id: str,
        message_count: int | None,
        request: RequestKey | None = None,
        key: str = "",
        quota: Quota | None = None,
    ) -> MCPSession:
        """Begin a session with the first messages of another, and with everything that its caller set.

        Args:
            tenant: whose they are.
            session_id: the session to fork.
            new_id: the id of the new one; empty: the server chooses.
            message_count: how many messages to keep; ``None``: all.
            request: as in :meth:`create`.
            key: the id of the caller's API key, or empty.
            quota: the caller's limits.

        Raises:
            SessionNotFound: there is no session to fork.
            SessionExists: the new id is taken.
            RequestIdReused: the key of ``request`` was used for a different request.
            QuotaExceeded: the caller may store no further session.
            InvalidArgument: the history is shorter.
        """
        now = self._clock()
        draft = MCPSession(
            tenant=tenant,
            id=new_id or fresh_id("s"),
            uid=fresh_id("u"),
            create_time=now,
            update_time=now,
            etag=new_etag(),
            parent=session_id,
            key=key,
        )

        def decide(stored: Stored) -> Change:
            parent = existing(stored.other, session_id, self._ownership.now(stored))
            count = parent.message_count if message_count is None else message_count
            check_count(parent, count)
            session = replace(
                draft,
                ttl=parent.ttl,
                expire_time=expire_time(parent.ttl, now),
                labels=parent.labels,
                metadata=parent.metadata,
                system_instruction=parent.system_instruction,
                default_model=parent.default_model,
                context=parent.context,
                message_count=count,
                tokens=parent.tokens,
            )
            return Change(session=session, fork_of=parent.uid if count else "")

        digest = digest_of("fork", session_id, new_id, message_count) if request is not None else b""
        return await self._begin(draft, request, digest, decide, other=session_id, quota=quota)

    async def _begin(
        self,
        draft: MCPSession,
        request: RequestKey | None,
        digest: bytes,
        decide: Decide,
        *,
        other: str = "",
        quota: Quota | None,
    ) -> MCPSession:
        """Write a new session, unless the request has done that before."""
        tenant = draft.tenant

        def begin(stored: Stored) -> Change:
            now = self._ownership.now(stored)
            if stored.receipt is not None:
                check_receipt(stored.receipt, digest)
                return Change()
            old = stored.session
            if old is not None and not old.expired(now):
                raise SessionExists(
                    f"the session {old.name} already exists: choose another session_id, or use that session",
                    metadata={"session": old.name},
                )
            if quota is not None:
                check_stored(quota, stored.accounts, new_session=True)
            change = decide(stored)
            if request is None:
                return change
            return replace(change, receipt=receipt_of(_written(change), request, digest, now))

        look_up = LookUp(receipt=request, other=other, accounts=queries(quota, self._clock(), stored=True))
        changed = await self._change(tenant, draft.id, begin, look_up)
        receipt = changed.stored.receipt
        if receipt is None:
            return _session(changed)
        session = await self.get(tenant, receipt.session)
        if session.uid != receipt.session_uid:
            raise not_found(receipt.session)
        return session

    async def get(self, tenant: str, session_id: str) -> MCPSession:
        """The session as it is now.

        Raises:
            SessionNotFound: there is none, or it has expired.
        """
        return self._ownership.present(
            existing(await self._store.session(tenant, session_id), session_id, self._clock())
        )

    async def list(
        self,
        tenant: str,
        *,
        limit: int,
        labels: Mapping[str, str],
        newest_first: bool,
        after: tuple[int, str] | None,
    ) -> Sequence[MCPSession]:
        """Up to ``limit`` sessions in the order of their creation, after the ``(create_time, uid)`` of ``after``."""
        query = SessionQuery(
            tenant=tenant, now=self._clock(), limit=limit, labels=labels, newest_first=newest_first, after=after
        )
        return [self._ownership.present(session) for session in await self._store.sessions(query)]

    async def update(
        self, tenant: str, session_id: str, update: SessionUpdate, *, quota: Quota | None = None
    ) -> MCPSession:
        """Change a session in one step and renew its ttl; ``quota`` has the limits of the caller.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: it has changed since the caller read it.
            InvalidArgument: the context would exceed its limits.
            QuotaExceeded: the caller may store no more.
        """

        def decide(stored: Stored) -> Change:
            now = self._ownership.now(stored)
            session = existing(stored.session, session_id, now)
            check_etag(session, update.etag)
            if quota is not None:
                check_stored(quota, stored.accounts, new_session=False)
            fields = dict(update.fields)
            if "ttl" in fields and fields["ttl"] is None:
                fields["ttl"] = self._default_ttl
            if update.set_context or update.remove_context:
                kept = {name: entry for name, entry in session.context.items() if name not in update.remove_context}
                fields["context"] = {**kept, **update.set_context}
            if "context" in fields:
                check_context(fields["context"], "set_context" if update.set_context else "session.context")
            changed = replace(session, **fields)
            grown = tokens_of_instruction(changed) - tokens_of_instruction(session)
            changed = replace(changed, tokens=max(session.tokens + grown, 0))
            return Change(session=touched(changed, now, content=True))

        look_up = LookUp(accounts=queries(quota, self._clock(), stored=True))
        return self._ownership.present(_session(await self._change(tenant, session_id, decide, look_up)))

    async def delete(self, tenant: str, session_id: str, *, etag: str = "") -> MCPSession:
        """Remove a session and all that belongs to it, and return it as it was.

        Raises:
            SessionNotFound: there is none.
            EtagMismatch: it has changed since the caller read it.
        """

        def decide(stored: Stored) -> Change:
            check_etag(existing(stored.session, session_id, self._ownership.now(stored)), etag)
            return Change(delete=True)

        changed = await self._change(tenant, session_id, decide)
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
        quota: Quota | None = None,
    ) -> tuple[MCPSession, int]:
        """Add messages to the end of the history, all or none; return the session and the index of the first of them.

        With a ``request`` that was carried out before, nothing is added again. ``quota`` has the limits of the caller.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: a turn runs on it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the key of ``request`` was used for a different request.
            ToolResultsMissing: a tool call before the end of the messages has no result.
            InvalidArgument: a result has no call, or its call has another result.
            QuotaExceeded: the caller may store no more.
        """
        digest = digest_of("append", with_states_of("", messages), etag) if request is not None else b""
        end = HistoryEnd()

        def decide(stored: Stored) -> Change:
            now = self._ownership.now(stored)
            session = existing(stored.session, session_id, now)
            if stored.receipt is not None:
                check_receipt(stored.receipt, digest)
                return Change()
            check_etag(session, etag)
            self._ownership.check_free(stored)
            first = session.message_count
            end.check(session)
            check_tool_results(open_calls(end.messages), messages, complete=False)
            if quota is not None:
                check_stored(quota, stored.accounts, new_session=False)
            session, stored_messages = appended(session, messages, now)
            receipt = None
            if request is not None:
                receipt = receipt_of(session, request, digest, now, first_index=first)
            return Change(session=touched(session, now, content=True), append=stored_messages, receipt=receipt)

        accounts = queries(quota, self._clock(), stored=True)
        look_up = LookUp(receipt=request, holder=True, accounts=accounts)
        changed = None
        while changed is None:
            end = await history_end(self._store, tenant, session_id)
            with contextlib.suppress(HistoryChanged):
                changed = await self._change(tenant, session_id, decide, look_up)
        receipt = changed.stored.receipt
        if receipt is not None:
            assert changed.stored.session is not None
            return changed.stored.session, receipt.first_index
        session = _session(changed)
        return session, session.message_count - len(messages)

    async def rewind(
        self,
        tenant: str,
        session_id: str,
        message_count: int,
        *,
        etag: str = "",
        request: RequestKey | None = None,
    ) -> MCPSession:
        """Keep only the first ``message_count`` messages of the history.

        With a ``request`` that was carried out before, nothing is removed again.

        Raises:
            SessionNotFound: there is none.
            SessionBusy: a turn runs on it or waits for it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the key of ``request`` was used for a different request.
            ToolResultsMissing: only some of the results of an exchange would remain.
            InvalidArgument: the history is shorter.
        """
        digest = digest_of("rewind", message_count, etag) if request is not None else b""
        end, waiting = HistoryEnd(), ""

        def decide(stored: Stored) -> Change:
            now = self._ownership.now(stored)
            session = existing(stored.session, session_id, now)
            if stored.receipt is not None:
                check_receipt(stored.receipt, digest)
                return Change()
            check_etag(session, etag)
            self._ownership.check_free(stored)
            end.check(session)
            if waiting:
                raise session_busy(session, waiting)
            receipt = None if request is None else receipt_of(session, request, digest, now)
            if message_count == session.message_count:
                return Change(session=touched(session, now), receipt=receipt)
            check_count(session, message_count)
            check_cut(end.messages)
            session = replace(touched(session, now, content=True), message_count=message_count, tokens=end.tokens)
            return Change(session=session, rewind=message_count, receipt=receipt)

        look_up = LookUp(receipt=request, holder=True)
        changed = None
        while changed is None:
            end = await history_end(self._store, tenant, session_id, message_count)
            waiting = await self._waiting(tenant, end.uid)
            with contextlib.suppress(HistoryChanged):
                changed = await self._change(tenant, session_id, decide, look_up)
        session = changed.change.session or changed.stored.session
        assert session is not None
        return self._ownership.present(session)

    async def _waiting(self, tenant: str, uid: str) -> str:
        """The full name of a turn that waits for the session with that uid, or an empty string."""
        now = self._clock()
        for turn in await self._store.turns(tenant, uid, _LAST_TURNS, ""):
            if turn.state is TurnState.QUEUED and self._ownership.binds(turn, now):
                return turn.name
        return ""

    async def messages(self, session: MCPSession, start: int, stop: int) -> Sequence[Message]:
        """The messages of ``session`` with ``start <= index < stop``, in order; none if it is gone by now."""
        return await self._store.messages(session.tenant, session.uid, start, stop)

    async def hide_turn(self, tenant: str, session_id: str, turn_id: str) -> None:
        """Remember that a turn is hidden whose record is gone.

        Raises:
            SessionNotFound: there is no such session.
            InvalidArgument: it has too many hidden turns.
        """

        def decide(stored: Stored) -> Change:
            session = existing(stored.session, session_id, self._ownership.now(stored))
            return Change(session=with_hidden_turn(session, turn_id))

        await self._change(tenant, session_id, decide)

    async def touch(self, tenant: str, session_id: str) -> MCPSession:
        """Renew the ttl of a session that is used.

        Raises:
            SessionNotFound: there is none.
        """

        def decide(stored: Stored) -> Change:
            now = self._ownership.now(stored)
            return Change(session=touched(existing(stored.session, session_id, now), now))

        return _session(await self._change(tenant, session_id, decide))

    async def sweep(self, turn_retention: int, now: int) -> int:
        """Delete the sessions that have expired by ``now`` and the turns that ended ``turn_retention`` before it; count
        the sessions."""

        def decide(stored: Stored) -> Change:
            return Change(delete=stored.session is not None and stored.session.expired(now))

        count = 0
        while expired := await self._store.expired(now, SWEEP_BATCH):
            changes = await asyncio.gather(*[self._change(tenant, name, decide) for tenant, name in expired])
            deleted = sum(changed.change.delete for changed in changes)
            count += deleted
            if deleted < len(expired):
                break  # The rest has a turn running.
        while await self._store.forget(now - turn_retention, SWEEP_BATCH) >= SWEEP_BATCH:
            continue
        return count


def _session(changed: Changed) -> MCPSession:
    return _written(changed.change)


def _written(change: Change) -> MCPSession:
    assert change.session is not None
    return change.session
