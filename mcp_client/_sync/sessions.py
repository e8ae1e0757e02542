# Generated from mcp_client/_aio/sessions.py by scripts/generate: edit that file.

"""The client's methods for sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contextprotocol.v1 import session_pb2
from mcp_client._core.arguments import UNSET, Unset
from mcp_client._core.requests import sessions as requests
from mcp_client._core.requests.messages import Input
from mcp_client._core.requests.names import session_name
from mcp_client._core.requests.sessions import Context
from mcp_client._core.responses import messages as message_responses
from mcp_client._core.responses import sessions as responses
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.listing import SyncListing
from mcp_client._sync.session_watch import SyncSessionWatch
from mcp_client.values import Message, Seconds, Session


class SessionMethods:
    """Create, read, change and delete sessions."""

    _calls: SyncCalls

    def create_session(
        self,
        session_id: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        system_instruction: str = "",
        default_model: str = "",
        context: Context | None = None,
        ttl: Seconds | None = None,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Create a session.

        Args:
            session_id: the last segment of its name; empty: the server generates one.
            labels: short strings to filter sessions by.
            metadata: a JSON object for the application's own use.
            system_instruction: the instruction that the model is given before every conversation.
            default_model: the model of calls that name none.
            context: further entries that the model is given, by name.
            ttl: how long the session is kept unused, in seconds; ``None``: the server's default.
            request_id: an idempotency key; empty: the client generates one.
            timeout: the timeout of the call, in seconds.

        Raises:
            SessionExists: a session with this id exists.
        """
        request = requests.create_session(
            session_id=session_id,
            labels=labels or {},
            metadata=metadata or {},
            system_instruction=system_instruction,
            default_model=default_model,
            context_entries=context or {},
            ttl=ttl,
            request_id=request_id,
        )
        return responses.session(self._calls.unary("SessionService.CreateSession", request, timeout))

    def get_session(self, session: str | Session, *, timeout: Seconds | None = None) -> Session:
        """Get a session. This does not extend its ttl.

        Raises:
            SessionNotFound: the session does not exist.
        """
        request = session_pb2.GetSessionRequest(name=session_name(session))
        return responses.session(self._calls.unary("SessionService.GetSession", request, timeout))

    def list_sessions(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        newest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: Seconds | None = None,
    ) -> SyncListing[Session]:
        """List the sessions that have all ``labels``, by creation time, without their context and metadata.

        Reading these two fields raises a ``RuntimeError``; :meth:`get_session` returns them.

        Pages are fetched while the list is read, from ``page_token`` on; ``timeout`` applies to each page.
        """
        request = requests.list_sessions(labels or {}, newest_first=newest_first, page_size=page_size)
        return SyncListing(
            self._calls,
            "SessionService.ListSessions",
            request,
            lambda page: [responses.session(session, complete=False) for session in page.sessions],
            page_token=page_token,
            timeout=timeout,
        )

    def update_session(
        self,
        session: str | Session,
        *,
        labels: Mapping[str, str] | Unset = UNSET,
        metadata: Mapping[str, Any] | Unset = UNSET,
        system_instruction: str | Unset = UNSET,
        default_model: str | Unset = UNSET,
        ttl: Seconds | Unset | None = UNSET,
        context: Context | Unset = UNSET,
        set_context: Context | None = None,
        remove_context: Sequence[str] = (),
        etag: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Update the fields that are given, atomically.

        Args:
            session: the session to update.
            labels: replaces all labels.
            metadata: replaces the metadata, a JSON object.
            system_instruction: replaces the system instruction; may be empty.
            default_model: replaces the default model; may be empty.
            ttl: replaces the ttl, in seconds; ``None``: the server's default.
            context: replaces the whole context.
            set_context: entries to add or replace; cannot be combined with ``context``.
            remove_context: names of entries to remove; cannot be combined with ``context``.
            etag: if given, the update fails unless the session still has this etag.
            timeout: the timeout of the call, in seconds.

        Raises:
            EtagMismatch: the session has changed.
        """
        request = requests.update_session(
            session,
            labels=labels,
            metadata=metadata,
            system_instruction=system_instruction,
            default_model=default_model,
            ttl=ttl,
            context_entries=context,
            set_context=set_context or {},
            remove_context=remove_context,
            etag=etag,
        )
        return responses.session(self._calls.unary("SessionService.UpdateSession", request, timeout))

    def delete_session(self, session: str | Session, *, etag: str = "", timeout: Seconds | None = None) -> None:
        """Delete a session with its history and turns.

        Raises:
            SessionNotFound: the session does not exist.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        self._calls.unary("SessionService.DeleteSession", requests.delete_session(session, etag), timeout)

    def fork_session(
        self,
        session: str | Session,
        session_id: str = "",
        *,
        message_count: int | None = None,
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Create a session with the history of another one. Later changes of either do not affect the other.

        Instruction, model, context, labels, metadata and ttl are copied; turns are not.

        Args:
            session: the session to fork.
            session_id: the last segment of the new session's name; empty: the server generates one.
            message_count: how many messages to copy, from the first; ``None``: all.
            request_id: an idempotency key; empty: the client generates one.
            timeout: the timeout of the call, in seconds.

        Raises:
            SessionNotFound: the session does not exist.
            SessionExists: a session with the id of the new one exists.
        """
        request = requests.fork_session(
            session, session_id=session_id, message_count=message_count, request_id=request_id
        )
        return responses.session(self._calls.unary("SessionService.ForkSession", request, timeout))

    def append_messages(
        self,
        session: str | Session,
        messages: Input,
        *,
        etag: str = "",
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Append messages to the history without calling a model: all of them, or none.

        Returns the session, without context and metadata; the last of its ``message_count`` messages are the new ones.

        Raises:
            SessionBusy: a turn is running on the session.
            EtagMismatch: ``etag`` is given, and the session has changed.
        """
        request = requests.append_messages(session, messages, etag=etag, request_id=request_id)
        response = self._calls.unary("SessionService.AppendMessages", request, timeout)
        return responses.session(response.session, complete=False)

    def rewind_session(
        self,
        session: str | Session,
        message_count: int,
        *,
        etag: str = "",
        request_id: str = "",
        timeout: Seconds | None = None,
    ) -> Session:
        """Remove the messages from a given one on from the history, and return the session. Forks keep theirs.

        To edit a message, rewind to before it and chat again.

        Args:
            session: the session to rewind.
            message_count: how many messages to keep, from the first.
            etag: if given, the session is rewound only if it still has this etag.
            request_id: an idempotency key; empty: the client generates one.
            timeout: the timeout of the call, in seconds.

        Raises:
            SessionBusy: a turn is running on the session, or waits for it.
            EtagMismatch: ``etag`` is given, and the session has changed.
            ToolResultsMissing: only some of the results of an exchange would remain.
        """
        request = requests.rewind_session(session, message_count, etag=etag, request_id=request_id)
        return responses.session(self._calls.unary("SessionService.RewindSession", request, timeout))

    def watch_session(self, session: str | Session, *, timeout: Seconds | None = None) -> SyncSessionWatch:
        """Watch a session: its current state first, then its changes and its turns, until it is deleted.

        Args:
            session: the session to watch. Watching does not renew its ttl.
            timeout: how long to watch, in seconds; ``None``: without limit.
        """
        return SyncSessionWatch(self._calls, session, timeout)

    def list_messages(
        self,
        session: str | Session,
        *,
        newest_first: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: Seconds | None = None,
    ) -> SyncListing[Message]:
        """List the history from either end.

        Pages are fetched while the list is read, from ``page_token`` on; ``timeout`` applies to each page.
        """
        request = requests.list_messages(session, newest_first=newest_first, page_size=page_size)
        return SyncListing(
            self._calls,
            "SessionService.ListMessages",
            request,
            lambda page: [message_responses.message(message) for message in page.messages],
            page_token=page_token,
            timeout=timeout,
        )
