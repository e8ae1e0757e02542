"""Cuts server-sent events out of the body of an answer and decodes them."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

MAX_LINE: Final = 2 * 1024 * 1024
"""The longest line that is read, in bytes: an answer of the greatest length in one piece fits."""
DATA: Final = b"data: "
"""The beginning of nearly every line."""
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding invalid JSON raises."""

T = TypeVar("T")


class EventStream(Generic[T]):
    """Decodes the JSON of server-sent events, all that arrived together at once.

    Attributes:
        done: whether the server has sent its end mark.
        problem: what is wrong with the stream, or empty; after a problem nothing more is read.

    Args:
        decoder: of the JSON of one event.
        end: the data of the event that ends the stream; empty if the protocol has none.
    """

    __slots__ = ("_decode", "_decode_lines", "_end", "_last", "_rest", "done", "problem")

    def __init__(self, decoder: msgspec.json.Decoder[T], *, end: bytes = b"") -> None:
        self.done = False
        self.problem = ""
        self._rest = b""
        self._decode = decoder.decode
        self._decode_lines = decoder.decode_lines
        self._end = end
        self._last = DATA + end + b"\n\n"

    def feed(self, data: bytes) -> list[T]:
        """The events that are complete with the next ``data``."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if len(self._rest) > MAX_LINE:
            self.problem = f"a line of more than {MAX_LINE} bytes"
            return []
        block = data[:end]
        if block.startswith(DATA):
            self.done = bool(self._end) and block.endswith(self._last)
            lines = block[len(DATA) : -len(self._last)] if self.done else block[len(DATA) :]
            try:
                # A line end within JSON is escaped: every match is the beginning of a line.
                return self._decode_lines(lines.replace(b"\ndata: ", b"\n"))
            except UNREADABLE:
                self.done = False  # it contains another kind of line, or invalid JSON
        return self._each(block)

    def _each(self, block: bytes) -> list[T]:
        """Decode line by line, whatever the lines are."""
        events = []
        for line in block.splitlines():
            if not line.startswith(b"data:"):
                continue  # empty, a comment, or the name of the event
            data = line[5:].strip()
            if self._end and data == self._end:
                self.done = True
                break
            try:
                events.append(self._decode(data))
            except UNREADABLE:
                self.problem = "an event that is not JSON of the known form"
                break
        return events
