"""What happens in a turn, and the log that keeps it.

A turn writes its events to an append-only :class:`TurnLog`. Whoever wants them, the call that started the turn first of
all, is a reader of that log. A reader takes all that is there, with neighbouring deltas merged, and writes it; while
that write waits, more gathers. So an idle reader gets each token at once and alone, a loaded one gets fewer and larger
messages, and no timer is needed for either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from mcp_server.errors import MCPError
from mcp_server.messages import Attempt, FinishReason, Logprob, Message, Struct, Usage, Window

MAX_DELTA_CHARACTERS: Final = 16 * 1024
"""The longest delta, merged or not: at most 64 KiB, since a character takes at most four bytes."""


# -- events -----------------------------------------------------------------------------------------------------------


class Started(Struct):
    """The turn begins: always the first event of one that did not wait."""

    turn: str
    """The turn's full name."""
    model: str
    """``provider/model``."""
    provider: str
    """The provider's configured name."""
    window: Window
    """What of the history the model sees."""
    session_etag: str = ""
    """The session's etag when the turn began; empty without a session."""


class PartStarted(Struct):
    """A new part of the answer begins."""

    part: int
    """Its index."""
    kind: str
    """``text``, ``reasoning``, ``refusal`` or ``tool_call``."""
    tool_call_id: str = ""
    """The call's id; only of a ``tool_call``."""
    tool_name: str = ""
    """The tool; only of a ``tool_call``."""


class Delta(Struct):
    """A piece of a part."""

    part: int
    """The part's index."""
    kind: str
    """The part's kind."""
    text: str
    """The piece; of a ``tool_call``, a piece of its arguments."""
    logprobs: tuple[Logprob, ...] = ()
    """One a token of the piece, if asked for."""


class Heartbeat(Struct):
    """Nothing else has happened for a while. It is sent and not recorded."""


class Completed(Struct):
    """The turn succeeded: always the last event, and of a successful turn only."""

    message: Message
    """The whole answer, as it is stored."""
    finish_reason: FinishReason
    """Why the model stopped."""
    usage: Usage
    """What all attempts took together."""
    attempts: tuple[Attempt, ...]
    """Every call to a provider."""
    session_etag: str
    """The session's etag after the exchange; empty without a session."""
    time_to_first_token: int | None
    """Nanoseconds from the acceptance of the call; ``None`` for an empty answer."""
    duration: int
    """Nanoseconds from the acceptance of the call."""


Event = Started | PartStarted | Delta | Heartbeat | Completed

_HEARTBEAT: Final = Heartbeat()


# -- the log ----------------------------------------------------------------------------------------------------------


class TurnLog:
    """The events of one turn, in order, each with its number: the first is 1.

    Only the turn appends; any number of readers read, each at its own pace. It belongs to one event loop.
    """

    __slots__ = ("_ended", "_error", "_events", "_on_idle", "_readers")

    def __init__(self, on_idle: Callable[[], None]) -> None:
        """Args:
        on_idle: called when the last reader has left and the log has not ended.
        """
        self._events: list[Event] = []
        self._ended = False
        self._error: MCPError | None = None
        self._readers: set[TurnReader] = set()
        self._on_idle = on_idle

    def append(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        for reader in self._readers:
            reader.wake()

    def end(self, error: MCPError | None = None) -> None:
        """No more events come. Readers that have read all of them end, or raise ``error``."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        for reader in self._readers:
            reader.wake()

    def beat(self) -> None:
        """Let the readers that have been waiting for a whole interval yield a heartbeat."""
        for reader in self._readers:
            reader.beat()

    def reader(self, after_sequence: int = 0) -> TurnReader:
        """A reader of the events behind ``after_sequence``. It counts as reading from now on until it is closed."""
        reader = TurnReader(self, after_sequence)
        self._readers.add(reader)
        return reader


class TurnReader:
    """Reads a log: an async iterator of ``(sequence, event)``, and a context manager that leaves the log.

    It ends when the turn has succeeded, and raises the turn's error when it has not.
    """

    __slots__ = ("_beat", "_end_only", "_log", "_position", "_waiter")

    def __init__(self, log: TurnLog, after_sequence: int) -> None:
        self._log = log
        self._position = after_sequence
        self._waiter: asyncio.Future[None] | None = None
        self._beat = False
        self._end_only = False

    def __enter__(self) -> TurnReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the log. A turn whose last reader leaves is told so."""
        log = self._log
        if self in log._readers:
            log._readers.discard(self)
            if not log._readers and not log._ended:
                log._on_idle()

    async def last(self) -> Event:
        """The last event of a turn that succeeds, without reading those before it.

        Raises:
            MCPError: the turn did not succeed.
        """
        log = self._log
        self._end_only = True
        while not log._ended:
            await self._wait()
        if log._error is not None:
            raise log._error
        return log._events[-1]

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """There is something to read."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self._log._ended or not self._end_only):
            waiter.set_result(None)

    def beat(self) -> None:
        """If it has been waiting since the last time this was called, let it yield a heartbeat."""
        if self._waiter is None:
            self._beat = False
        elif self._beat:
            self.wake()
        else:
            self._beat = True

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        log = self._log
        events = log._events
        while True:
            if self._position < len(events):
                self._beat = False
                position = self._position
                while position < len(events):
                    event, position = _merged(events, position)
                    self._position = position
                    yield position, event
            elif log._ended:
                if log._error is not None:
                    raise log._error
                return
            else:
                await self._wait()
                if self._beat and self._position == len(events) and not log._ended:
                    self._beat = False
                    yield self._position, _HEARTBEAT


def _merged(events: list[Event], position: int) -> tuple[Event, int]:
    """The event at ``position`` and the position behind it; a delta together with those of its part that follow it."""
    first = events[position]
    position += 1
    if type(first) is not Delta or position == len(events):
        return first, position
    following = events[position]
    if type(following) is not Delta or following.part != first.part:
        return first, position
    pieces, logprobs, length = [first.text], list(first.logprobs), len(first.text)
    while position < len(events):
        event = events[position]
        if type(event) is not Delta or event.part != first.part:
            break
        length += len(event.text)
        if length > MAX_DELTA_CHARACTERS:
            break
        pieces.append(event.text)
        logprobs += event.logprobs
        position += 1
    return Delta(part=first.part, kind=first.kind, text="".join(pieces), logprobs=tuple(logprobs)), position
