"""Watches a session, and goes on after a lost connection."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from mcp_client._aio.calls import AsyncCalls
from mcp_client._aio.transport import AsyncResponses
from mcp_client._core.arguments import seconds
from mcp_client._core.requests import sessions as requests
from mcp_client._core.responses.session_events import session_event
from mcp_client._core.retry import Attempts
from mcp_client.errors import Details, MCPError, ServerUnavailable, SessionNotFound
from mcp_client.values import Seconds, Session, SessionCurrent, SessionDeleted, SessionEvent

_METHOD: Final = "SessionService.WatchSession"


class SessionWatch:
    """Watches a session: a context manager, and an iterator over what happens to it.

    ::

        async with client.watch_session(session) as watch:
            async for event in watch:
                ...

    The first event is a :class:`SessionCurrent`. When the connection is lost or the server restarts, the client
    connects again, and the next event is the current state. The last event is a :class:`SessionDeleted`.
    """

    def __init__(self, calls: AsyncCalls, session: str | Session, timeout: Seconds | None) -> None:
        self._calls = calls
        self._request = requests.watch_session(session)
        self._timeout = None if timeout is None else seconds("timeout", timeout)
        self._attempts: Attempts | None = None
        self._responses: AsyncResponses | None = None
        self._received = 0
        self._uid = ""
        self._ended = False
        self._left = False

    async def __aenter__(self) -> Self:
        if self._attempts is not None:
            raise RuntimeError("a watch can be entered only once")
        self._attempts = self._calls.attempts(_METHOD, self._timeout, 0)
        self._responses = await self._calls.stream(_METHOD, self._request, self._attempts)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        if self._responses is not None:
            self._responses.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionEvent:
        """The next event.

        Raises:
            SessionNotFound: the session does not exist.
            DeadlineExceeded: the timeout of the watch has passed.
        """
        while (event := await self._event()) is None:
            pass
        return event

    async def _event(self) -> SessionEvent | None:
        """The next event; ``None`` for a heartbeat."""
        if self._responses is None:
            raise RuntimeError("a watch can only be read inside its `async with` block")
        if self._left:
            raise RuntimeError("the block of the watch was left before its end")
        if self._ended:
            raise StopAsyncIteration
        event = await self._next()
        if isinstance(event, SessionCurrent):
            if self._uid not in ("", event.session.uid):  # another has its name
                event = SessionDeleted()
            else:
                self._uid = event.session.uid
        self._ended = isinstance(event, SessionDeleted)
        return event

    async def _next(self) -> SessionEvent | None:
        while True:
            assert self._responses is not None
            try:
                async for received in self._responses:
                    self._received += 1
                    return session_event(received)
            except SessionNotFound:
                if self._uid:  # it was deleted while there was no connection
                    return SessionDeleted()
                raise
            except MCPError as error:
                await self._resume(error)
            else:
                message = f"{self._calls.address} has ended the stream of a session"
                await self._resume(ServerUnavailable(message, Details(code="UNAVAILABLE")))

    async def _resume(self, error: MCPError) -> None:
        """Connect again, or raise ``error`` if that does not help."""
        assert self._attempts is not None
        await self._calls.pause(self._attempts.retry_delay(error, self._received))
        self._responses = await self._calls.stream(_METHOD, self._request, self._attempts)
