# The blocking twin of _tools.py, written by scripts/generate: change that one.

"""An answer for which a model asks for functions: they are run, and it goes on."""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from mcp_client._errors import Details, MCPError, ToolRoundsExceeded
from mcp_client._functions import Functions, answered, failed
from mcp_client._messages import Delta, Event, Message, Reply, ToolCall, ToolChoice, ToolResult, ToolRun
from mcp_client._sync_running import invoke, together
from mcp_client._sync_stream import SyncTurnStream

Ask = Callable[[Sequence[Message], int, ToolChoice | str | None, float | None], SyncTurnStream]
"""One turn: with these messages, as that round (from 0), with that choice, and so many seconds."""


class SyncToolStream:
    """An answer as it comes, from a model that may ask for functions on the way.

    ::

        with client.stream_chat_with_tools("How warm is it in Rome?", tools=[temperature]) as stream:
            for token in stream:
                print(token, end="", flush=True)

    Each time that the model asks, its turn ends, the functions are run, and their results begin the next turn. Each
    turn is like that of a :class:`SyncTurnStream`: it outlives its connections, and leaving the block stops it. Who
    leaves while functions run leaves a session that waits for their results.
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
        self._deadline = math.inf
        self._stream = ask(messages, 0, tool_choice, timeout)
        self._events: Iterator[Event] = self._stream.events()
        self._replies: list[Reply] = []
        self._runs: deque[ToolRun] = deque()
        self._whole = False
        self._error: MCPError | None = None

    def __enter__(self) -> Self:
        if self._timeout is not None:
            self._deadline = time.monotonic() + self._timeout
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.__exit__(kind, error, traceback)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        """The next piece of what the model says, in whichever turn.

        Raises:
            MCPError: a turn did not succeed.
            ToolRoundsExceeded: the model does not stop asking.
        """
        while (event := self._next()) is not None:
            if isinstance(event, Delta) and event.text:
                return event.text
        raise StopIteration

    def events(self) -> Iterator[Event | ToolRun]:
        """Everything that happens in all turns, and a :class:`ToolRun` for each function that was run, in order.

        Raises:
            MCPError: a turn did not succeed.
        """
        while (event := self._next()) is not None:
            yield event

    def reply(self) -> Reply:
        """The last turn's answer, in which the model asks for nothing more; waits for it.

        Raises:
            MCPError: a turn did not succeed.
        """
        while self._next() is not None:
            pass
        return self._replies[-1]

    @property
    def replies(self) -> Sequence[Reply]:
        """The answers of all turns that have ended, in order."""
        return tuple(self._replies)

    @property
    def turn(self) -> str:
        """The full name of the turn that runs now, or ran last, once it is known."""
        return self._stream.turn

    @property
    def text(self) -> str:
        """What the model has said so far in that turn."""
        return self._stream.text

    def _next(self) -> Event | ToolRun | None:
        """What happens next; ``None`` at the end."""
        if self._error is not None:
            raise self._error
        while not self._whole:
            if self._runs:
                return self._runs.popleft()
            if (event := next(self._events, None)) is not None:
                return event
            try:
                self._advance(self._stream.reply())
            except MCPError as error:
                self._error = error
                raise
        return None

    def _advance(self, reply: Reply) -> None:
        """A turn has ended: run what it asks for, and begin the next; or that was all."""
        self._replies.append(reply)
        calls = reply.message.tool_calls
        if not calls:
            self._whole = True
            return
        done = len(self._replies)
        if done > self._max_rounds:
            names = ", ".join([call.name for call in calls])
            raise ToolRoundsExceeded(
                f"after {self._max_rounds} rounds of tools the model still asks for {names}",
                Details(code="FAILED_PRECONDITION", metadata={"turn": reply.turn}),
            )
        results = together([functools.partial(self._run, call) for call in calls])
        self._runs.extend([ToolRun(call=call, result=result) for call, result in zip(calls, results, strict=True)])
        answers = [Message.tool(result) for result in results]
        self._messages = answers if self._in_session else [*self._messages, reply.message, *answers]
        self._stream.__exit__(None, None, None)
        left = None if self._timeout is None else max(self._deadline - time.monotonic(), 0.001)
        # The last round is for an answer.
        self._stream = self._ask(self._messages, done, "none" if done == self._max_rounds else None, left)
        self._events = self._stream.events()
        self._stream.__enter__()

    def _run(self, call: ToolCall) -> ToolResult:
        try:
            function = self._functions.find(call.name)
            return answered(call, invoke(function, function.bind(call.arguments_json)))
        except Exception as error:  # noqa: BLE001  # the model is told, and may ask better
            return failed(call, error)
