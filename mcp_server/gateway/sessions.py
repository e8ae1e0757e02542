"""The use cases of sessions and their histories."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

import msgspec

from mcp_server import rules
from mcp_server.errors import Violation
from mcp_server.gateway.use_cases import UseCases
from mcp_server.interfaces import RequestKey
from mcp_server.principal import Principal
from mcp_server.turns.watching import SessionWatch
from mcp_server.values import MCPSession, Message, SessionDraft, SessionUpdate

replace = msgspec.structs.replace

READ_CHUNK: Final = 16
"""How many messages are read at once: each may have 3 MiB, and a page ends at 3.5 MB."""


class SessionUseCases(UseCases):
    """Create, read, change, fork, rewind, watch and delete sessions."""

    async def create_session(
        self,
        principal: Principal,
        session_id: str,
        draft: SessionDraft,
        *,
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Begin a session; an empty ``session_id`` lets the server choose one. A ``request_id`` makes the call safe to
        retry, here and in :meth:`fork_session`, :meth:`append_messages` and :meth:`rewind_session`: it takes effect
        once.

        Raises:
            SessionExists: the id is taken.
            RequestIdReused: the ``request_id`` was used for another request.
        """
        found = rules.Violations()
        rules.session_id(found, session_id)
        rules.session_draft(found, draft, self._context_types)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.create(
            principal.tenant,
            session_id,
            draft,
            request=_key(request_id),
            key=principal.key,
            quota=self.accounts.quota(principal),
        )

    async def get_session(
        self, principal: Principal, session_id: str, *, violations: Sequence[Violation] = ()
    ) -> MCPSession:
        """A session as it is now.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        return await self._sessions.get(principal.tenant, session_id)

    async def list_sessions(
        self,
        principal: Principal,
        *,
        limit: int,
        labels: Mapping[str, str],
        newest_first: bool = False,
        after: tuple[int, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> Sequence[MCPSession]:
        """Up to ``limit`` sessions that carry all ``labels``, in the order of their creation, after the
        ``(create_time, uid)`` of ``after``; without their context and metadata."""
        found = rules.Violations()
        rules.labels(found, "labels", labels)
        rules.refuse(violations, found)
        return await self._sessions.list(
            principal.tenant, limit=limit, labels=labels, newest_first=newest_first, after=after
        )

    async def update_session(
        self,
        principal: Principal,
        session_id: str,
        update: SessionUpdate,
        *,
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Change a session in one step.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            EtagMismatch: it has changed since the caller read it.
        """
        found = rules.Violations()
        rules.session_update(found, update, self._context_types)
        rules.refuse(violations, found)
        update = replace(update, remove_context=frozenset(update.remove_context))
        return await self._sessions.update(principal.tenant, session_id, update, quota=self.accounts.quota(principal))

    async def delete_session(
        self, principal: Principal, session_id: str, *, etag: str = "", violations: Sequence[Violation] = ()
    ) -> None:
        """Delete a session and stop its turns, whose readers then end with SessionNotFound.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            EtagMismatch: it has changed since the caller read it.
        """
        rules.refuse(violations)
        self._turns.cancel_session(await self._sessions.delete(principal.tenant, session_id, etag=etag))

    async def fork_session(
        self,
        principal: Principal,
        session_id: str,
        *,
        new_id: str = "",
        message_count: int | None = None,
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Begin a session with the first ``message_count`` messages of another, or with all (``None``), and everything
        that its caller decided about it.

        Raises:
            SessionNotFound: the session to fork does not exist, or has expired.
            SessionExists: the new id is taken.
            RequestIdReused: the ``request_id`` was used for another request.
        """
        found = rules.Violations()
        rules.session_id(found, new_id)
        if message_count is not None:
            rules.whole(found, "message_count", message_count, 0)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.fork(
            principal.tenant,
            session_id,
            new_id=new_id,
            message_count=message_count,
            request=_key(request_id),
            key=principal.key,
            quota=self.accounts.quota(principal),
        )

    async def list_messages(
        self,
        principal: Principal,
        session_id: str,
        *,
        limit: int,
        newest_first: bool = False,
        after: int | None = None,
        violations: Sequence[Violation] = (),
    ) -> AsyncGenerator[Message, None]:
        """Up to ``limit`` messages of a session's history, after the one with the index ``after``. They are read in
        small chunks while they are taken, so a caller that stops early reads little more than it takes.

        Raises:
            SessionNotFound: it does not exist, or has expired.
        """
        rules.refuse(violations)
        session = await self._sessions.get(principal.tenant, session_id)
        count = session.message_count
        # Positions count from the end that is listed first; the history changes only at its newer end.
        # After a rewind it may be shorter than at the page before.
        begin = 0 if after is None else (max(count - after, 0) if newest_first else after + 1)
        last = min(begin + limit, count)
        while begin < last:
            end = min(begin + READ_CHUNK, last)
            span = (count - end, count - begin) if newest_first else (begin, end)
            chunk = await self._sessions.messages(session, *span)
            for message in reversed(chunk) if newest_first else chunk:
                yield message
            if len(chunk) < end - begin:  # the session was deleted or rewound meanwhile
                await self._sessions.get(principal.tenant, session_id)
                return
            begin = end

    async def append_messages(
        self,
        principal: Principal,
        session_id: str,
        messages: Sequence[Message],
        *,
        etag: str = "",
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> tuple[MCPSession, int]:
        """Add messages to the end of a session's history, all or none; return the session and the index of the first.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            SessionBusy: a turn runs on it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the ``request_id`` was used for another request.
            ToolResultsMissing: a tool call before the end of the messages has no result.
        """
        found = rules.Violations()
        rules.messages(found, messages, in_session=True)
        rules.expected_etag(found, "etag", etag)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.append(
            principal.tenant,
            session_id,
            messages,
            etag=etag,
            request=_key(request_id, in_session=True),
            quota=self.accounts.quota(principal),
        )

    async def rewind_session(
        self,
        principal: Principal,
        session_id: str,
        message_count: int,
        *,
        etag: str = "",
        request_id: str = "",
        violations: Sequence[Violation] = (),
    ) -> MCPSession:
        """Keep only the first ``message_count`` messages of a session's history, and return the session.

        Raises:
            SessionNotFound: it does not exist, or has expired.
            SessionBusy: a turn runs on it or waits for it.
            EtagMismatch: it has changed since the caller read it.
            RequestIdReused: the ``request_id`` was used for another request.
            ToolResultsMissing: only some of the results of an exchange would remain.
        """
        found = rules.Violations()
        rules.whole(found, "message_count", message_count, 0)
        rules.expected_etag(found, "etag", etag)
        rules.request_id(found, request_id)
        rules.refuse(violations, found)
        return await self._sessions.rewind(
            principal.tenant,
            session_id,
            message_count,
            etag=etag,
            request=_key(request_id, in_session=True),
        )

    async def watch_session(
        self, principal: Principal, session_id: str, *, after_etag: str = "", violations: Sequence[Violation] = ()
    ) -> SessionWatch:
        """What happens to a session, its current state first, which is brief if its etag is ``after_etag``.

        Raises:
            SessionNotFound: it does not exist, or has expired; also raised by the reader, after its last event.
            Draining: the server is about to stop; also raised by the reader.
            Overloaded: too many calls watch it, or the caller makes too many of them.
        """
        found = rules.Violations()
        rules.expected_etag(found, "after_etag", after_etag)
        rules.refuse(violations, found)
        return await self._turns.watch(session_id, (principal.tenant, principal.key), after_etag=after_etag)


def _key(request_id: str, *, in_session: bool = False) -> RequestKey | None:
    """The key of a call on a session that is safe to retry; ``None`` if it is not."""
    return RequestKey(service="session", request_id=request_id, in_session=in_session) if request_id else None
