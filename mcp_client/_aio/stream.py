"""The stream of a turn, which resumes after a lost connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from mcp_client._aio.calls import AsyncCalls
from mcp_client._aio.transport import AsyncResponses
from mcp_client._core.answer import Answer
from mcp_client._core.arguments import seconds
from mcp_client._core.responses import turns as responses
from mcp_client._core.retry import Attempts
from mcp_client.errors import DeadlineExceeded, MCPError
from mcp_client.values import Delta, Event, FinishReason, Reply, Seconds, Turn, Usage


class TurnStream:
    """The stream of an answer: a context manager, and an iterator over the answer's text.

    ::

        async with client.stream_chat("Hello!") as stream:
            async for token in stream:
                print(token, end="", flush=True)
        print(stream.finish_reason, stream.usage)

    When the connection is lost or the server restarts, the stream resumes after the last event that it has received:
    the reader notices a pause, and no token is lost or repeated.

    Leaving the block before the end, by ``break``, by an exception or because the task is cancelled, cancels the turn:
    the model stops, and the session is free for the next call. The client waits a second at most for that; if it fails,
    the server cancels the turn after the grace period. With ``on_disconnect="continue"``, or after :meth:`detach`, the
    turn continues. Leaving a stream of :meth:`MCPClient.stream_turn`, which only watches, never cancels its turn.
    """

    def __init__(
        self,
        calls: AsyncCalls,
        name: str,
        request: Any,
        timeout: Seconds | None,
        *,
        turn: str = "",
        watches: bool = False,
    ) -> None:
        self._calls = calls
        self._name = name
        self._request = request
        self._timeout = None if timeout is None else seconds("timeout", timeout)
        self._watches = watches
        self._detached = watches
        self._answer = Answer(turn, request.after_sequence)
        self._attempts: Attempts | None = None
        self._responses: AsyncResponses | None = None
        self._ended = False
        self._left = False

    async def __aenter__(self) -> Self:
        if self._attempts is not None:
            raise RuntimeError("a stream can be entered only once")
        self._attempts = self._calls.attempts(self._name, self._timeout, self.sequence)
        try:
            self._responses = await self._calls.stream(self._name, self._request, self._attempts)
        except BaseException as error:
            # The turn may have started, and __aexit__ is not called. An Exception is raised before anything is sent.
            if not self._detached and not isinstance(error, Exception):
                await self._calls.leave(self._name, self._request)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        try:
            if self._responses is not None:
                self._responses.cancel()
        finally:
            if not self._ended and self._answer.reply is None and not self._detached:
                await self._calls.leave(self._name, self._request, self.turn)

    def __repr__(self) -> str:
        state = "complete" if self._answer.reply is not None else "left" if self._left else "open"
        return f"<{type(self).__name__} {state} turn={self.turn!r} model={self.model!r} sequence={self.sequence}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of the text, including that of a refusal.

        If another model restarts the answer, its text follows that of the abandoned attempt; ``text`` has only the
        valid one.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over the events, in order. Each is delivered once, as an event or as text.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            yield event

    async def reply(self) -> Reply:
        """The complete answer. Waits for the end of the turn.

        Raises:
            MCPError: the turn did not succeed.
        """
        # The trailers, if somebody wants them, come behind the answer.
        to_the_end = self._responses is not None and self._responses.is_recorded and not self._left
        while (to_the_end or self._answer.reply is None) and await self._next() is not None:
            pass
        return self._answer.complete()

    def detach(self) -> None:
        """From now on, leaving the block does not cancel the turn: its ``on_disconnect`` applies.

        By default the server waits for another reader during the grace period: :meth:`MCPClient.stream_turn`, or
        the same request again. Use this to pass an answer on, as a web server does whose browsers reconnect.
        """
        self._detached = True

    async def cancel(self, *, timeout: Seconds | None = None) -> Turn:
        """Cancel the turn, and return it in its final state: cancelled, unless it had already ended.

        Events from before the cancellation can still be read; then :class:`TurnCancelled` is raised.

        Args:
            timeout: the timeout of the call, in seconds.

        Raises:
            TurnNotFound: the turn was not started, or is past the retention period.
        """
        turn = responses.turn(await self._calls.cancel(self._name, self._request, self.turn, timeout))
        self._ended = True
        return turn

    @property
    def turn(self) -> str:
        """The full name of the turn; empty before the first event."""
        return self._answer.turn

    @property
    def request_id(self) -> str:
        """The idempotency key of the request; empty if the stream only watches."""
        return "" if self._watches else self._request.request_id

    @property
    def sequence(self) -> int:
        """The number of the last event that was read, after which another stream can resume; 0: none."""
        return self._answer.sequence

    @property
    def model(self) -> str:
        """The ``provider/model`` that answers; empty before it starts."""
        return self._answer.model

    @property
    def text(self) -> str:
        """The text so far, from the event at which the stream started."""
        return self._answer.text

    @property
    def usage(self) -> Usage | None:
        """The token counts of the complete answer; ``None`` before its end."""
        return self._answer.reply.usage if self._answer.reply is not None else None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped; ``None`` before that."""
        return self._answer.reply.finish_reason if self._answer.reply is not None else None

    async def _next(self) -> Event | None:
        """The next event of a known kind; ``None`` at the end."""
        if self._responses is None:
            raise RuntimeError("a stream can only be read inside its `async with` block")
        if self._left:
            raise RuntimeError("the block of the stream was left before its end")
        while True:
            try:
                async for received in self._responses:
                    if (event := self._answer.add(received)) is not None:
                        return event
            except MCPError as error:
                if self._answer.reply is not None:  # the answer is complete
                    return None
                await self._resume(error)
            else:
                self._end()
                return None

    async def _resume(self, error: MCPError) -> None:
        """Resume with another call, or raise ``error`` if that does not help."""
        assert self._attempts is not None
        try:
            delay = self._attempts.retry_delay(error, self.sequence)
        except MCPError:
            # After the caller's own deadline the turn is still running.
            self._ended = type(error) is not DeadlineExceeded
            raise
        await self._calls.pause(delay)
        if self.sequence:
            self._request.after_sequence = self.sequence
        self._responses = await self._calls.stream(self._name, self._request, self._attempts)

    def _end(self) -> None:
        assert self._attempts is not None
        self._attempts.succeeded()
        self._ended = True
