"""The stream of a turn: it outlives its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from mcp_client import _responses
from mcp_client._arguments import Seconds, seconds
from mcp_client._base import Answer
from mcp_client._calls import AsyncCalls
from mcp_client._errors import DeadlineExceeded, MCPError
from mcp_client._messages import Delta, Event, FinishReason, Reply, Turn, Usage
from mcp_client._retry import Attempts
from mcp_client._transport import AsyncResponses


class TurnStream:
    """An answer as it comes: a context manager, and an iterator of the answer's text.

    ::

        async with client.stream_chat("Hello!") as stream:
            async for token in stream:
                print(token, end="", flush=True)
        print(stream.finish_reason, stream.usage)

    When the connection is lost or the server restarts, it goes on behind the last event that it has seen: whoever reads
    notices a pause, and no token is lost or comes twice.

    Leaving the block before the end, by ``break``, by an exception or because the task is cancelled, stops the turn:
    the model ends, and the session is free for the next call. The client gives that a second at most; if it fails, the
    turn ends when the server's grace is over. With ``on_disconnect="continue"``, or after :meth:`detach`, leaving stops
    nothing. A stream of :meth:`MCPClient.stream_turn` only watches: leaving it never does.
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
            raise RuntimeError("a stream can be entered once")
        self._attempts = self._calls.attempts(self._name, self._timeout, self.sequence)
        try:
            self._responses = await self._calls.stream(self._name, self._request, self._attempts)
        except asyncio.CancelledError:  # it may have begun, and nobody will leave what was not entered
            if not self._detached:
                await self._calls.leave(self._name, self._request)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        if self._responses is not None:
            self._responses.cancel()
        if not self._ended and self._answer.reply is None and not self._detached:
            await self._calls.leave(self._name, self._request, self.turn)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of the text, a refusal's words too. What follows a switch to another model begins anew;
        ``text`` is always right.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order. What has been read, as events or as text, does not come again.

        Raises:
            MCPError: the turn did not succeed.
        """
        while (event := await self._next()) is not None:
            yield event

    async def reply(self) -> Reply:
        """The whole answer; waits for it if it has not been read to its end.

        Raises:
            MCPError: the turn did not succeed.
        """
        while self._answer.reply is None and await self._next() is not None:
            pass
        return self._answer.whole()

    def detach(self) -> None:
        """From now on, leaving the block stops nothing: the turn goes on as its ``on_disconnect`` says.

        By default it waits the server's grace for another reader, who comes by :meth:`MCPClient.stream_turn` or
        with the same request. This is for who passes an answer on and may be replaced, as a web server is.
        """
        self._detached = True

    async def cancel(self, *, timeout: Seconds | None = None) -> Turn:
        """Stop the turn, and return it as it ended: cancelled, or otherwise if that came first.

        What had been said before still comes to who reads on; then :class:`TurnCancelled` is raised.

        Args:
            timeout: seconds that the call may take.

        Raises:
            TurnNotFound: it has not begun, or is kept no longer.
        """
        turn = _responses.turn(await self._calls.cancel(self._name, self._request, self.turn, timeout))
        self._ended = True
        return turn

    @property
    def turn(self) -> str:
        """The turn's full name, once it is known: from the first event on."""
        return self._answer.turn

    @property
    def request_id(self) -> str:
        """The key with which the same request comes to the same turn; empty for one that only watches."""
        return "" if self._watches else self._request.request_id

    @property
    def sequence(self) -> int:
        """The number of the last event that has been read: where another stream can go on. 0: none yet."""
        return self._answer.sequence

    @property
    def model(self) -> str:
        """The ``provider/model`` that answers, once it has begun."""
        return self._answer.model

    @property
    def text(self) -> str:
        """The text so far; of a stream that began in the middle, what came since."""
        return self._answer.text

    @property
    def usage(self) -> Usage | None:
        """What the answer took, once it is whole."""
        return self._answer.reply.usage if self._answer.reply is not None else None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped, once it has."""
        return self._answer.reply.finish_reason if self._answer.reply is not None else None

    async def _next(self) -> Event | None:
        """The next event that this client knows; ``None`` at the end."""
        if self._responses is None:
            raise RuntimeError("a stream is read inside of its `async with` block")
        if self._left:
            raise RuntimeError("the stream was left before its end")
        while True:
            try:
                async for received in self._responses:
                    if (event := self._answer.take(received)) is not None:
                        return event
            except MCPError as error:
                if self._answer.reply is not None:  # nothing is missing
                    return None
                await self._resume(error)
            else:
                self._end()
                return None

    async def _resume(self, error: MCPError) -> None:
        """Go on with another call; or raise ``error``, if that was all."""
        assert self._attempts is not None
        try:
            delay = self._attempts.again(error, self.sequence)
        except MCPError:
            # When only the caller's own time is up, the turn still runs.
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
