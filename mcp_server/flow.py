"""Limits on what callers make the server hold: requests on their way, large requests, and answers that nobody reads.

An edge buffers a request until it is complete, and an answer until its caller reads it. Neither may go on without end,
nor for more bytes than the server has memory for. Up to :data:`SMALL` bytes are not counted: HTTP/2 lets every call
send as much before it is asked, and the number of calls is limited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mcp_server.errors import InvalidArgument, MCPError, Overloaded, Violation

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest request of any method."""
SMALL: Final = 64 * 1024
SLOW_SECONDS: Final = 0.2
"""How long a request may take to arrive before it counts as slow, and with its greatest size: how much of it has been
buffered is not known."""
LATE_SECONDS: Final = 0.1
"""How late a timer of a free event loop is at most."""
CANCEL_SECONDS: Final = 0.05
"""How long after the end of a call without a request its cancellation may arrive."""
RETRY_SECONDS: Final = 1.0

Write = Callable[[bytes], Awaitable[None]]


class Flow:
    """The limits, shared by all calls of a server.

    Args:
        max_bytes: how much all calls together may hold.
        receive_timeout: how long a request may take to arrive, in seconds.
        reader_timeout: how long an answer may wait for its caller, in seconds.
    """

    def __init__(self, *, max_bytes: int, receive_timeout: float, reader_timeout: float) -> None:
        self.receive_timeout = receive_timeout
        self.reader_timeout = reader_timeout
        self.held = 0
        """How much all calls hold."""
        self._max_bytes = max_bytes
        self._transfers: set[Transfer] = set()

    def begin(self) -> Transfer:
        """A call begins, in the present task; it is closed at the end."""
        transfer = Transfer(self)
        self._transfers.add(transfer)
        return transfer

    def end(self, transfer: Transfer) -> None:
        """A call has ended."""
        self._transfers.discard(transfer)
        self.held -= transfer.held

    def has_room(self, size: int) -> bool:
        """Whether another ``size`` bytes may be held."""
        return self.held + size <= self._max_bytes

    async def watch(self) -> None:
        """Without end: end the calls whose answer has waited too long."""
        loop = asyncio.get_running_loop()
        interval = min(self.reader_timeout / 4, 5.0)
        while True:
            due = loop.time() + interval
            await asyncio.sleep(interval)
            if loop.time() - due < LATE_SECONDS:  # else callers may have read meanwhile
                for transfer in list(self._transfers):
                    transfer.look(loop.time() - self.reader_timeout)


class Transfer:
    """What one call receives and sends."""

    __slots__ = ("_error", "_flow", "_loop", "_task", "_timer", "_waiting_since", "answering", "held", "unread")

    def __init__(self, flow: Flow) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.held = 0
        """How many bytes it holds."""
        self.answering = False
        """Whether it has a large answer, which is sent when the call has returned."""
        self.unread = False
        """Whether it was ended because its caller reads nothing: nothing more can be sent."""
        self._flow = flow
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0
        self._error: MCPError | None = None

    def close(self) -> None:
        """The call has ended, and nothing of it is left to send."""
        self._flow.end(self)

    # -- its request --------------------------------------------------------------------------------------------------

    async def receive(self, read: Callable[[], Awaitable[Any]], end: object = None) -> bytes:
        """The request, of a call that has one.

        Args:
            read: reads it.
            end: what ``read`` returns if the caller has ended the call without a request.

        Raises:
            InvalidArgument: the caller has sent none.
            Overloaded: it is large and there is no room for it, or it arrives too slowly.
        """
        self._timer = self._loop.call_later(SLOW_SECONDS, self._slow)
        try:
            request = await read()
        except asyncio.CancelledError:
            self._raise_own()
            raise
        finally:
            self._timer.cancel()
        self._hold(-self.held)
        if request is end:
            await asyncio.sleep(CANCEL_SECONDS)
            raise InvalidArgument([Violation(field="", description="the call has no request: send one message")])
        if len(request) > SMALL:
            self._reserve(len(request), "large requests")
        body: bytes = request
        return body

    def hold(self, size: int) -> None:
        """The request was compressed, and is held unpacked too.

        Raises:
            Overloaded: it is large and there is no room for it.
        """
        if size > SMALL:
            self._reserve(size, "large requests")

    def _slow(self) -> None:
        """The request has not arrived yet: it takes room, or is refused."""
        assert self._timer is not None
        if self._loop.time() - self._timer.when() > LATE_SECONDS:
            # The event loop was held up: what has arrived meanwhile is read first.
            self._timer = self._loop.call_later(SLOW_SECONDS, self._slow)
            return
        try:
            self._reserve(MAX_REQUEST_BYTES, "requests that arrive slowly")
        except MCPError as error:
            self._stop(error)
        else:
            self._timer = self._loop.call_later(self._flow.receive_timeout, self._too_slow)

    def _too_slow(self) -> None:
        seconds = self._flow.receive_timeout
        self._stop(Overloaded(f"the request did not arrive within {seconds:g} s", retry_after=RETRY_SECONDS))

    # -- its answer ---------------------------------------------------------------------------------------------------

    async def send(self, write: Write, data: bytes) -> None:
        """Write a message; return when there is room for the next one.

        Raises:
            Overloaded: it is large and there is no room for it, or the caller reads nothing.
        """
        size = len(data)
        if size > SMALL:
            self._reserve(size, "large answers")
        self._waiting_since = self._loop.time()
        try:
            await write(data)
        except asyncio.CancelledError:
            self._raise_own()  # the message is kept: the call holds it until it is closed
            raise
        self._waiting_since = 0.0
        if size > SMALL:
            self._hold(-size)

    def answer(self, size: int) -> None:
        """The only answer of the call has that size, and is held until it is sent.

        Raises:
            Overloaded: it is large and there is no room for it.
        """
        if size > SMALL:
            self._reserve(size, "large answers")
            self.answering = True

    def look(self, before: float) -> None:
        """End the call if it has waited for its caller since that time."""
        if 0.0 < self._waiting_since < before and self._error is None:
            seconds = self._flow.reader_timeout
            self.unread = True
            self._stop(
                Overloaded(
                    f"the caller has read nothing for {seconds:g} s: send the request again to read on",
                    retry_after=RETRY_SECONDS,
                )
            )

    # -- its end ------------------------------------------------------------------------------------------------------

    def _reserve(self, size: int, what: str) -> None:
        if not self._flow.has_room(size):
            text = f"the server holds as many {what} as it may at a time: send the request again later"
            raise Overloaded(text, retry_after=RETRY_SECONDS)
        self._hold(size)

    def _hold(self, size: int) -> None:
        self.held += size
        self._flow.held += size

    def _stop(self, error: MCPError) -> None:
        self._error = error
        self._task.cancel()

    def _raise_own(self) -> None:
        """Raise the error that this call was stopped with, unless its caller has left."""
        if self._error is not None and self._task.uncancel() == 0:
            raise self._error
