"""An answer for which a model asks for functions: they are run, and it goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

from mcp_client._arguments import Seconds
from mcp_client._errors import DeadlineExceeded, Details, MCPError, ToolRoundsExceeded, TurnCancelled
from mcp_client._functions import Functions
from mcp_client._messages import Delta, Event, FinishReason, Message, Reply, ToolChoice, ToolRun, Turn, Usage
from mcp_client._running import Running
from mcp_client._stream import TurnStream

Ask = Callable[[Sequence[Message], int, ToolChoice | str | None, float | None], TurnStream]
"""One turn: with these messages, as that round (from 0), with that choice, and so many seconds."""


class ToolStream:
    """An answer as it comes, from a model that may ask for functions on the way.

    ::

        async with client.stream_chat_with_tools("How warm is it in Rome?", tools=[temperature]) as stream:
            async for token in stream:
                print(token, end="", flush=True)

    Each time that the model asks, its turn ends, the functions are run, and their results begin the next turn. Each
    turn is like that of a :class:`TurnStream`: it outlives its connections, and leaving the block stops it. Who
    leaves while functions run leaves a session that waits for their results; what is asynchronous of them is
    cancelled. Who is only interrupted, and reads on, misses nothing, and no function runs twice.
    """

    def __init__(
        self,
        ask: Ask,
        functions: Functions,
        messages: Sequence[Message],
        *,
        in_session: bool,
        tool_choice: ToolChoice | str | None,
        max_rounds: int,
        timeout: float | None,
    ) -> None:
        self._ask = ask
        self._functions = functions
        self._messages = messages
        self._in_session = in_session
        self._max_rounds = max_rounds
        self._timeout = timeout
        self._began = 0.0
        self._stream = ask(messages, 0, tool_choice, timeout)
        self._replies: list[Reply] = []
        self._running: Running | None = None
        self._ran: deque[ToolRun] = deque()
        self._answers: Sequence[Message] = ()
        self._cancelled = False
        self._whole = False
        self._error: Exception | None = None

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._error is None and not self._whole:
            self._error = RuntimeError("the stream was left before its end")
        try:
            if self._running is not None:
                await self._running.stop()
        finally:
            await self._stream.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of what the model says, in whichever turn.

        Raises:
            MCPError: a turn did not succeed.
            ToolRoundsExceeded: the model does not stop asking.
            DeadlineExceeded: the time for all of it is over; functions may still run.
        """
        while (event := await self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[Event | ToolRun]:
        """Everything that happens in all turns, and a :class:`ToolRun` for each function that was run, in order.

        Raises:
            MCPError: a turn did not succeed.
        """
        while (event := await self._next()) is not None:
            yield event

    async def reply(self) -> Reply:
        """The last turn's answer, in which the model asks for nothing more; waits for it.

        Raises:
            MCPError: a turn did not succeed.
        """
        while await self._next() is not None:
            pass
        return self._replies[-1]

    async def cancel(self, *, timeout: Seconds | None = None) -> Turn:
        """Stop the turn that runs, and begin no other; return it as it ended.

        Functions that run are not stopped. Who reads on gets what comes before, then :class:`TurnCancelled`.

        Args:
            timeout: seconds that the call may take.

        Raises:
            TurnNotFound: it has not begun, or is kept no longer.
        """
        self._cancelled = True
        return await self._stream.cancel(timeout=timeout)

    @property
    def replies(self) -> Sequence[Reply]:
        """The answers of all turns that have ended, in order."""
        return tuple(self._replies)

    @property
    def turn(self) -> str:
        """The full name of the turn that runs now, or ran last, once it is known."""
        return self._stream.turn

    @property
    def model(self) -> str:
        """The ``provider/model`` of that turn, once it has begun."""
        return self._stream.model

    @property
    def text(self) -> str:
        """What the model has said so far in that turn."""
        return self._stream.text

    @property
    def usage(self) -> Usage | None:
        """What that turn took, once its answer is whole; ``replies`` have what the others took."""
        return self._stream.usage

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped in that turn, once it has."""
        return self._stream.finish_reason

    async def _next(self) -> Event | ToolRun | None:
        """What happens next; ``None`` at the end.

        Whoever waits may be interrupted anywhere, and come again: what is done is noted when it is, and not before.
        """
        if self._error is not None:
            raise self._error
        try:
            while not self._whole:
                if self._ran:
                    return self._ran.popleft()
                if self._running is not None:
                    await self._wait(self._running)
                elif self._answers:
                    await self._begin()
                # Not by its events(): an exception that passes through a generator ends it.
                elif (event := await self._stream._next()) is not None:
                    return event
                else:
                    self._ended(await self._stream.reply())
        except MCPError as error:
            self._error = error
            raise
        return None

    def _ended(self, reply: Reply) -> None:
        """A turn has ended: what it asks for begins to run; or that was all."""
        self._replies.append(reply)
        calls = reply.message.tool_calls
        if not calls:
            self._whole = True
        elif len(self._replies) > self._max_rounds:
            names = ", ".join([call.name for call in calls])
            raise ToolRoundsExceeded(
                f"after {self._max_rounds} rounds of tools the model still asks for {names}",
                Details(code="FAILED_PRECONDITION", metadata={"turn": reply.turn}),
            )
        else:
            self._left()
            self._running = Running(self._functions, calls)

    async def _wait(self, running: Running) -> None:
        """Functions run: wait for what they answer."""
        try:
            results = await running.results(self._left())
        except TimeoutError as error:
            raise self._late() from error
        calls = self._replies[-1].message.tool_calls
        self._ran.extend([ToolRun(call=call, result=result) for call, result in zip(calls, results, strict=True)])
        self._answers = [Message.tool(result) for result in results]
        self._running = None

    async def _begin(self) -> None:
        """Functions have answered: begin the next turn with that."""
        messages = self._answers
        if not self._in_session:
            messages = [*self._messages, self._replies[-1].message, *messages]
        done = len(self._replies)
        await self._stream.__aexit__(None, None, None)
        # The last round is for an answer.
        stream = self._ask(messages, done, "none" if done == self._max_rounds else None, self._left())
        await stream.__aenter__()
        self._stream, self._messages, self._answers = stream, messages, ()

    def _left(self) -> float | None:
        """The seconds that are left for all that is still to come.

        Raises:
            DeadlineExceeded: none.
            TurnCancelled: nothing more is wanted.
        """
        if self._cancelled:
            raise TurnCancelled("the conversation was stopped between two turns", self._details("CANCELLED"))
        if self._timeout is None:
            return None
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> DeadlineExceeded:
        names = ", ".join([call.name for call in self._replies[-1].message.tool_calls])
        return DeadlineExceeded(
            f"the deadline passed while the model waited for {names}", self._details("DEADLINE_EXCEEDED")
        )

    def _details(self, code: str) -> Details:
        return Details(code=code, metadata={"turn": self.turn})
