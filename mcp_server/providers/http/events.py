"""Cuts server-sent events, or JSON without them, out of the body of an answer and decodes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

import msgspec

MAX_LINE: Final = 2 * 1024 * 1024
"""The longest line that is read, in bytes: an answer of the greatest length in one piece fits."""
MAX_DOCUMENT: Final = 16 * 1024 * 1024
"""The longest JSON without events that is read, in bytes."""
MAX_ATTEMPTS: Final = 4
"""How often JSON without events is decoded in vain before its end is waited for."""
DATA: Final = b"data: "
"""The beginning of nearly every line."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""What some servers put before a text in UTF-8."""
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding invalid JSON raises; errors of Unicode are a ``ValueError``."""

T = TypeVar("T")
Odd = Callable[[bytes, bool], Iterable[T]]
"""Decodes the data of an event that is not of the usual form: its bytes, and whether the event is named ``error``.
Returns nothing for what carries nothing, and raises one of :data:`UNREADABLE` for what may carry a part of an answer
and cannot be read."""


class EventStream(Generic[T]):
    """Decodes the JSON of server-sent events, all that arrived together at once.

    Attributes:
        done: whether the server has sent its end mark.
        problem: what is wrong with the stream, or empty; after a problem nothing more is read.

    Args:
        decoder: of the JSON of one event of the usual form.
        end: the data of the event that ends the stream.
        odd: decodes all other events.
    """

    __slots__ = (
        "_begun",
        "_decode",
        "_decode_lines",
        "_end",
        "_event",
        "_last",
        "_odd",
        "_pending",
        "_rest",
        "done",
        "problem",
    )

    def __init__(self, decoder: msgspec.json.Decoder[T], *, end: bytes, odd: Odd[T]) -> None:
        self.done = False
        self.problem = ""
        self._begun = False
        self._rest = b""
        self._event = b""
        self._pending = bytearray()
        """The data of an event that is not complete: JSON may stand on several lines."""
        self._decode = decoder.decode
        self._decode_lines = decoder.decode_lines
        self._end = end
        self._last = DATA + end + b"\n\n"
        self._odd = odd

    def feed(self, data: bytes) -> list[T]:
        """The events that are complete with the next ``data``."""
        data = self._rest + data
        if not self._begun:
            if len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
                self._rest = data
                return []
            self._begun = True
            data = data.removeprefix(BYTE_ORDER_MARK)
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1  # a last one may be the first half of CR LF
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            self.problem = f"a line of more than {MAX_LINE} bytes"
            return []
        block = data[:end]
        if block.startswith(DATA) and not self._event and not self._pending:
            self.done = block.endswith(self._last)
            lines = block[len(DATA) : -len(self._last)] if self.done else block[len(DATA) :]
            try:
                # A line end within JSON is escaped: every match is the beginning of a line.
                return self._decode_lines(lines.replace(b"\ndata: ", b"\n"))
            except UNREADABLE:
                self.done = False  # it contains another kind of line, or JSON of another form
        return self._each(block)

    def end(self) -> list[T]:
        """The events that are complete with the end of the body."""
        return self.feed(b"\n\n")

    def _each(self, block: bytes) -> list[T]:
        """Decode line by line, whatever the lines are."""
        events: list[T] = []
        for whole in block.splitlines():
            line = whole.removeprefix(BYTE_ORDER_MARK)
            if not line:
                self._event = b""
                if self._pending and not self._decode_pending(events):
                    break
            elif line.startswith(b"event:"):
                self._event = line[6:].strip().lower()
            elif line.startswith(b"data:") and not self._data(line[5:].strip(), events):
                break
        return events

    def _data(self, data: bytes, events: list[T]) -> bool:
        """Take the data of a line; returns whether there may be more."""
        if self._pending:
            self._pending += b"\n" + data
            if len(self._pending) > MAX_LINE:
                self.problem = f"an event of more than {MAX_LINE} bytes"
            return not self.problem
        if data.strip(b'"').upper() == self._end:
            self.done = True
            return False
        try:
            events.extend(self._one(data))
        except UNREADABLE:
            self._pending += data  # it may go on in the next line
        return True

    def _decode_pending(self, events: list[T]) -> bool:
        """Decode the data of several lines; returns whether there may be more."""
        data = bytes(self._pending)
        self._pending.clear()
        try:
            events.extend(self._one(data))
        except UNREADABLE:
            self.problem = "an event that is not JSON of the known form"
        return not self.problem

    def _one(self, data: bytes) -> Iterable[T]:
        error = self._event == b"error"
        if not error:
            try:
                return (self._decode(data),)
            except UNREADABLE:
                pass
        return self._odd(data, error)


class JSONStream(Generic[T]):
    """Decodes a body that is JSON without events: one value, or one after the other on lines of their own.

    It has the attributes and methods of an :class:`EventStream`.

    Args:
        decoder: of a value of the usual form.
        odd: decodes all others.
    """

    __slots__ = ("_attempts", "_decode", "_odd", "_rest", "done", "problem")

    def __init__(self, decoder: msgspec.json.Decoder[T], *, odd: Odd[T]) -> None:
        self.done = False
        self.problem = ""
        self._decode = decoder.decode
        self._odd = odd
        self._rest = bytearray()
        self._attempts = 0

    def feed(self, data: bytes) -> list[T]:
        """The values that are complete with the next ``data``."""
        self._rest += data
        if len(self._rest) > MAX_DOCUMENT:
            self.problem = f"more than {MAX_DOCUMENT} bytes"
            return []
        if self._attempts == MAX_ATTEMPTS or not data.rstrip().endswith((b"}", b"]")):
            return []
        events = self._values()
        self._attempts = self._attempts + 1 if events is None else 0
        return events or []

    def end(self) -> list[T]:
        """The values that are complete with the end of the body."""
        events = self._values()
        if events is None:
            self.problem = "what is not JSON of the known form"
        return events or []

    def _values(self) -> list[T] | None:
        """All of the rest, or ``None`` if it is not complete."""
        text = bytes(self._rest).removeprefix(BYTE_ORDER_MARK).strip()
        events: list[T] = []
        try:
            if text:
                events += self._one(text)
        except UNREADABLE:
            try:
                for line in text.splitlines():
                    if line.strip():
                        events += self._one(line)
            except UNREADABLE:
                return None
        self._rest.clear()
        return events

    def _one(self, text: bytes) -> Iterable[T]:
        try:
            return (self._decode(text),)
        except UNREADABLE:
            return self._odd(text, False)
