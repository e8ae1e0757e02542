"""The log of a turn: its events in order, for any number of readers.

A turn appends its events to a :class:`TurnLog`. The call that started the turn, the same call sent again, a resume
after a lost connection and a second viewer are all readers of that log. A reader takes all events that are there, with
neighbouring deltas merged, and writes them; while that write waits, more events gather. So an idle reader gets each
token alone and at once, a loaded one gets fewer and larger messages, and no timer is needed for either. A reader keeps
only its position in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from mcp_server.errors import MCPError, SequenceUnknown
from mcp_server.values import (
    Delta,
    Event,
    Heartbeat,
    Logprob,
    PartStarted,
    Switched,
    SwitchMode,
)

MAX_DELTA_BYTES: Final = 64 * 1024
"""The largest delta, merged or not, with its log probabilities."""
MAX_DELTA_CHARACTERS: Final = MAX_DELTA_BYTES // 4
"""The longest text of a delta: a character takes at most four bytes."""
_LOGPROB_BYTES: Final = 32
"""More than the encoding of a log probability adds to its token."""


Numbered = tuple[int, Event]
"""An event and its sequence."""

_HEARTBEAT: Final = Heartbeat()
_PIECES: Final = (PartStarted, Delta)
"""The events that an answer consists of."""


def logprob_size(logprob: Logprob) -> int:
    """How many bytes a log probability takes in a delta, at most."""
    return _LOGPROB_BYTES + 4 * len(logprob.token) + sum([_LOGPROB_BYTES + 4 * len(top.token) for top in logprob.top])


def delta_size(characters: int, logprobs: Sequence[Logprob]) -> int:
    """How many bytes a delta takes, at most."""
    return 4 * characters + (sum(map(logprob_size, logprobs)) if logprobs else 0)


class TurnLog:
    """The events of one turn, in order, each with its number.

    Only the turn appends; any number of readers read, each at its own pace. It belongs to one event loop.

    Args:
        on_idle: called when the last reader has left and the log has not ended.
        base: the number that the first event that is appended follows.
    """

    __slots__ = ("__weakref__", "_ended", "_error", "_events", "_instead", "_on_idle", "_readers", "base", "earlier")

    def __init__(self, on_idle: Callable[[], None], *, base: int = 0) -> None:
        self.base = base
        self.earlier: Callable[[int, int], Iterator[Numbered]] | None = None
        """Gives the events up to ``base`` that follow a sequence, if there are any: what another process wrote. Merges
        no delta across the second sequence."""
        self._events: list[Event] = []
        self._ended = False
        self._error: MCPError | None = None
        # In order of arrival: the caller who waits for the turn is woken before those who watch it.
        self._readers: dict[TurnReader, None] = {}
        self._on_idle = on_idle
        self._instead: TurnLog | None = None

    @property
    def last_sequence(self) -> int:
        """The greatest number that may have been given to an event."""
        return self.base + len(self._events)

    @property
    def ended(self) -> bool:
        """Whether no more events come."""
        return self._ended

    def since(self, sequence: int) -> list[Event]:
        """The events that were appended after ``sequence``, which is not below the base."""
        return self._events[sequence - self.base :]

    def last_restart(self, sequence: int) -> int:
        """The number of the last event after ``sequence`` with which the answer began anew; 0 if there is none yet."""
        earlier = self.earlier(sequence, 0) if self.earlier is not None and sequence < self.base else ()
        restarts = [number for number, event in earlier if _is_restart(event)]
        live = enumerate(self._events, self.base + 1)
        return max([*restarts, *[number for number, event in live if _is_restart(event)]], default=0)

    def append(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        for reader in self._readers:
            reader.wake()

    def end(self, error: MCPError | None = None) -> None:
        """End the log. Readers that have read all events end, or raise ``error``."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        for reader in self._readers:
            reader.wake()

    def refer(self, log: TurnLog) -> None:
        """End the log and let its readers read ``log`` instead: the request of this turn belongs to another turn."""
        self._instead = log
        self.end()

    def beat(self) -> None:
        """Let the readers that have been waiting for a whole interval yield a heartbeat."""
        for reader in self._readers:
            reader.beat()

    def reader(self, after_sequence: int = 0) -> TurnReader:
        """A reader of the events after ``after_sequence``. It counts as reading from now on until it is closed."""
        reader = TurnReader(self, after_sequence)
        self._readers[reader] = None
        return reader


class TurnReader:
    """Reads a log: an async iterator of ``(sequence, event)``, and a context manager that leaves the log.

    It ends when the turn has succeeded, and raises the turn's error when it has not.
    """

    __slots__ = ("_after", "_beat", "_end_only", "_log", "_skips", "_waiter", "split")

    def __init__(self, log: TurnLog, after_sequence: int) -> None:
        self._log = log
        self._after = after_sequence
        self._waiter: asyncio.Future[None] | None = None
        self._beat = False
        self._end_only = False
        self._skips = False
        self.split = 0
        """Deltas up to this event are not merged with later ones. It is set before the first event is read."""

    def __enter__(self) -> TurnReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the log. When the last reader leaves, ``on_idle`` is called."""
        log = self._log
        if self in log._readers:
            del log._readers[self]
            if not log._readers and not log._ended:
                log._on_idle()

    def skip_abandoned(self) -> None:
        """Do not read the pieces of answers that were abandoned before the reading begins: for protocols in which an
        answer cannot begin anew."""
        self._skips = True

    async def last(self) -> Event:
        """The last event of a turn that succeeds, without reading those before it.

        Raises:
            MCPError: the turn did not succeed.
        """
        log = self._log
        self._end_only = True
        while not log._ended:
            await self._wait()
        if log._instead is not None:
            return await TurnReader(log._instead, 0).last()
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
        """Wake the reader, since there is something to read."""
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

    async def __aiter__(self) -> AsyncIterator[Numbered]:
        log, sent = self._log, self._after
        events = log._events
        while not events and not log._ended:
            await self._wait()
            if self._beat and not events and not log._ended:
                self._beat = False
                yield sent, _HEARTBEAT
        if log._instead is not None:
            instead = TurnReader(log._instead, self._after)
            instead._skips, instead.split = self._skips, self.split
            async for numbered in instead:
                yield numbered
            return
        base = log.base
        if log._error is not None and not events and not base:
            raise log._error  # the turn was refused, or ended before its first event
        if sent > base + len(events):
            raise SequenceUnknown(
                f"after_sequence {sent} is greater than {base + len(events)}, the number of the last event of the "
                "turn: send a number that was received",
                metadata={"last_sequence": str(base + len(events))},
            )
        restart = log.last_restart(sent) if self._skips else 0
        if sent < base:
            if log.earlier is not None:
                for numbered in log.earlier(sent, self.split):
                    sent = numbered[0]
                    if sent >= restart or type(numbered[1]) not in _PIECES:
                        yield numbered
            position = 0
        else:
            position = sent - base
        while True:
            if position < len(events):
                self._beat = False
                while position < len(events):
                    end = self.split - base
                    event, position = _merged(events, position, end if position < end else len(events))
                    sent = base + position
                    if sent >= restart or type(event) not in _PIECES:
                        yield sent, event
            elif log._ended:
                if log._error is not None:
                    raise log._error
                return
            else:
                await self._wait()
                if self._beat and position == len(events) and not log._ended:
                    self._beat = False
                    yield sent, _HEARTBEAT


def _is_restart(event: Event) -> bool:
    return type(event) is Switched and event.mode is SwitchMode.RESTARTED


def _merged(events: list[Event], position: int, end: int) -> tuple[Event, int]:
    """The event at ``position`` and the next position; a delta is merged with those of its part that follow it, before
    the position ``end``."""
    first = events[position]
    position += 1
    end = min(end, len(events))
    if type(first) is not Delta or position == end:
        return first, position
    following = events[position]
    if first.provider_state is not None or type(following) is not Delta or following.part != first.part:
        return first, position
    pieces, logprobs, size = [first.text], list(first.logprobs), delta_size(len(first.text), first.logprobs)
    while position < end:
        event = events[position]
        if type(event) is not Delta or event.part != first.part or event.provider_state is not None:
            break
        size += delta_size(len(event.text), event.logprobs) if event.logprobs else 4 * len(event.text)
        if size > MAX_DELTA_BYTES:
            break
        pieces.append(event.text)
        logprobs += event.logprobs
        position += 1
    return Delta(part=first.part, kind=first.kind, text="".join(pieces), logprobs=tuple(logprobs)), position
