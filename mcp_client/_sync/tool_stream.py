# Generated from mcp_client/_aio/tool_stream.py by scripts/generate: edit that file.

"""The stream of a chat in which the client runs functions for the model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from mcp_client._sync.stream import SyncTurnStream
from mcp_client._sync.tool_runner import ToolRunner
from mcp_client.errors import DeadlineExceeded, Details, MCPError, ToolRoundsExceeded, TurnCancelled
from mcp_client.tools.toolset import ToolSet
from mcp_client.values import Delta, Event, FinishReason, Message, Reply, Seconds, ToolChoice, ToolRun, Turn, Usage

StartTurn = Callable[[Sequence[Message], int, ToolChoice | str | None, float | None], SyncTurnStream]
"""Starts a turn, from its messages, the number of the round (from 0), the tool choice, and the timeout in seconds."""


class SyncToolStream:
    """The stream of an answer, from a model that may call functions.

    ::

        with client.stream_chat_with_tools("How warm is it in Rome?", tools=[temperature]) as stream:
            for token in stream:
                print(token, end="", flush=True)

    When the model calls functions, its turn ends, the client runs them, and the next turn starts with their results.
    Each turn is like that of a :class:`SyncTurnStream`: it resumes after a lost connection, and leaving the block
    cancels it. Leaving while functions run cancels those that are asynchronous, and leaves a session that waits for
    their results. A reader that is interrupted and reads on misses nothing, and no function runs twice.
    """

    def __init__(
        self,
        start_turn: StartTurn,
        toolset: ToolSet,
        messages: Sequence[Message],
        *,
        in_session: bool,
        tool_choice: ToolChoice | str | None,
        max_rounds: int,
        timeout: float | None,
    ) -> None:
        self._start_turn = start_turn
        self._toolset = toolset
        self._messages = messages
        self._in_session = in_session
        self._max_rounds = max_rounds
        self._timeout = timeout
        self._began = 0.0
        self._stream = start_turn(messages, 0, tool_choice, timeout)
        self._replies: list[Reply] = []
        self._running: ToolRunner | None = None
        self._ran: deque[ToolRun] = deque()
        self._results: Sequence[Message] = ()
        self._cancelled = False
        self._detached = False
        self._complete = False
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._error is None and not self._complete:
            self._error = RuntimeError("the block of the stream was left before its end")
        try:
            if self._running is not None:
                self._running.stop()
        finally:
            self._stream.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} round={len(self._replies)} {self._stream!r}>"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        """The next piece of the text, of any turn.

        Raises:
            MCPError: a turn did not succeed.
            ToolRoundsExceeded: the model called functions in too many rounds.
            DeadlineExceeded: the timeout passed; functions may still be running.
        """
        while (event := self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopIteration

    def events(self) -> Iterator[Event | ToolRun]:
        """Iterate over the events of all turns, with a :class:`ToolRun` for each function that was run, in order.

        Raises:
            MCPError: a turn did not succeed.
        """
        while (event := self._next()) is not None:
            yield event

    def reply(self) -> Reply:
        """The final answer, without further function calls; those before are its ``earlier`` ones. Waits for the end of
        all turns.

        Raises:
            MCPError: a turn did not succeed.
        """
        while self._next() is not None:
            pass
        return replace(self._replies[-1], earlier=tuple(self._replies[:-1]))

    def cancel(self, *, timeout: Seconds | None = None) -> Turn:
        """Cancel the running turn, start no other, and return it in its final state.

        Running functions are not stopped. Earlier events can still be read; then :class:`TurnCancelled` is raised.

        Args:
            timeout: the timeout of the call, in seconds.

        Raises:
            TurnNotFound: the turn was not started, or is past the retention period.
        """
        self._cancelled = True
        return self._stream.cancel(timeout=timeout)

    def detach(self) -> None:
        """From now on, leaving the block does not cancel the running turn, as :meth:`SyncTurnStream.detach`.

        Functions that run are abandoned all the same, and no further turn starts.
        """
        self._detached = True
        self._stream.detach()

    @property
    def replies(self) -> Sequence[Reply]:
        """The answers of all turns that have ended, in order."""
        return tuple(self._replies)

    @property
    def turn(self) -> str:
        """The full name of the current turn; empty before its first event."""
        return self._stream.turn

    @property
    def model(self) -> str:
        """The ``provider/model`` of the current turn; empty before it starts."""
        return self._stream.model

    @property
    def text(self) -> str:
        """The text of the current turn so far."""
        return self._stream.text

    @property
    def usage(self) -> Usage | None:
        """The token counts of the current turn; ``None`` before its end. Those of the others are in ``replies``."""
        return self._stream.usage

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model stopped in the current turn; ``None`` before that."""
        return self._stream.finish_reason

    def _next(self) -> Event | ToolRun | None:
        """The next event; ``None`` at the end.

        The reader may be interrupted at any point and read again: each step is recorded only when it is complete.
        """
        if self._error is not None:
            raise self._error
        try:
            while not self._complete:
                if self._ran:
                    return self._ran.popleft()
                if self._running is not None:
                    self._collect(self._running)
                elif self._results:
                    self._begin_turn()
                # Not from its events(): an exception would end the generator.
                elif (event := self._stream._next()) is not None:
                    return event
                else:
                    self._end_turn(self._stream.reply())
        except MCPError as error:
            self._error = error
            raise
        return None

    def _end_turn(self, reply: Reply) -> None:
        """Record the answer of a turn, and start to run the functions that it calls, if any."""
        self._replies.append(reply)
        calls = reply.message.tool_calls
        if not calls:
            self._complete = True
        elif len(self._replies) > self._max_rounds:
            names = ", ".join([call.name for call in calls])
            raise ToolRoundsExceeded(
                f"the model still calls {names} after {self._max_rounds} rounds of tools",
                Details(code="FAILED_PRECONDITION", metadata={"turn": reply.turn}),
            )
        else:
            self._time_left()  # raises before a function starts too late
            self._running = ToolRunner(self._toolset, calls)

    def _collect(self, running: ToolRunner) -> None:
        """Wait for the results of running functions."""
        try:
            results = running.results(self._time_left())
        except TimeoutError as error:
            raise self._deadline_exceeded() from error
        calls = self._replies[-1].message.tool_calls
        self._ran.extend([ToolRun(call=call, result=result) for call, result in zip(calls, results, strict=True)])
        self._results = [Message.tool(result) for result in results]
        self._running = None

    def _begin_turn(self) -> None:
        """Start the next turn with the results of the functions."""
        messages = self._results
        if not self._in_session:
            messages = [*self._messages, self._replies[-1].message, *messages]
        done = len(self._replies)
        self._stream.__exit__(None, None, None)
        # In the last round the model has to answer.
        stream = self._start_turn(messages, done, "none" if done == self._max_rounds else None, self._time_left())
        if self._detached:
            stream.detach()
        stream.__enter__()
        self._stream, self._messages, self._results = stream, messages, ()

    def _time_left(self) -> float | None:
        """The time that is left for all further turns, in seconds.

        Raises:
            DeadlineExceeded: the timeout has passed.
            TurnCancelled: the stream was cancelled.
        """
        if self._cancelled:
            raise TurnCancelled("the chat was cancelled between two turns", self._details("CANCELLED"))
        if self._timeout is None:
            return None
        left = self._began + self._timeout - time.monotonic()
        if left <= 0:
            raise self._deadline_exceeded()
        return left

    def _deadline_exceeded(self) -> DeadlineExceeded:
        names = ", ".join([call.name for call in self._replies[-1].message.tool_calls])
        return DeadlineExceeded(
            f"the deadline passed while the model waited for {names}", self._details("DEADLINE_EXCEEDED")
        )

    def _details(self, code: str) -> Details:
        return Details(code=code, metadata={"turn": self.turn})
