# Generated from mcp_client/_aio/session_watch.py by scripts/generate: edit that file.

"""Watches a session, and goes on after a lost connection."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from mcp_client._core.arguments import seconds
from mcp_client._core.requests import sessions as requests
from mcp_client._core.responses.session_events import session_event
from mcp_client._core.retry import Attempts
from mcp_client._sync.calls import SyncCalls
from mcp_client._sync.transport import SyncResponses
from mcp_client.errors import Details, MCPError, ServerUnavailable, SessionNotFound
from mcp_client.values import Seconds, Session, SessionCurrent, SessionDeleted, SessionEvent

_METHOD: Final = "SessionService.WatchSession"


class SyncSessionWatch:
    """Watches a session: a context manager, and an iterator over what happens to it.

    ::

        with client.watch_session(session) as watch:
            for event in watch:
                ...

    The first event is a :class:`SessionCurrent`. When the connection is lost or the server restarts, the client
    connects again, and the next event is the current state. The last event is a :class:`SessionDeleted`.
    """

    def __init__(self, calls: SyncCalls, session: str | Session, timeout: Seconds | None) -> None:
        self._calls = calls
        self._request = requests.watch_session(session)
        self._timeout = None if timeout is None else seconds("timeout", timeout)
        self._attempts: Attempts | None = None
        self._responses: SyncResponses | None = None
        self._received = 0
        self._uid = ""
        self._ended = False
        self._left = False

    def __enter__(self) -> Self:
        if self._attempts is not None:
            raise RuntimeError("a watch can be entered only once")
        self._attempts = self._calls.attempts(_METHOD, self._timeout, 0)
        self._responses = self._calls.stream(_METHOD, self._request, self._attempts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        if self._responses is not None:
            self._responses.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SessionEvent:
        """The next event.

        Raises:
            SessionNotFound: the session does not exist.
            DeadlineExceeded: the timeout of the watch has passed.
        """
        while (event := self._event()) is None:
            pass
        return event

    def _event(self) -> SessionEvent | None:
        """The next event; ``None`` for a heartbeat."""
        if self._responses is None:
            raise RuntimeError("a watch can only be read inside its `with` block")
        if self._left:
            raise RuntimeError("the block of the watch was left before its end")
        if self._ended:
            raise StopIteration
        event = self._next()
        if isinstance(event, SessionCurrent):
            if self._uid not in ("", event.session.uid):  # another has its name
                event = SessionDeleted()
            else:
                self._uid = event.session.uid
        self._ended = isinstance(event, SessionDeleted)
        return event

    def _next(self) -> SessionEvent | None:
        while True:
            assert self._responses is not None
            try:
                for received in self._responses:
                    self._received += 1
                    return session_event(received)
            except SessionNotFound:
                if self._uid:  # it was deleted while there was no connection
                    return SessionDeleted()
                raise
            except MCPError as error:
                self._resume(error)
            else:
                message = f"{self._calls.address} has ended the stream of a session"
                self._resume(ServerUnavailable(message, Details(code="UNAVAILABLE")))

    def _resume(self, error: MCPError) -> None:
        """Connect again, or raise ``error`` if that does not help."""
        assert self._attempts is not None
        self._calls.pause(self._attempts.retry_delay(error, self._received))
        self._responses = self._calls.stream(_METHOD, self._request, self._attempts)
