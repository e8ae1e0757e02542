"""Many callers at little cost: HTTP/2 frames by hand, since clients of gRPC would need more than the server does.

A request is two frames of fixed bytes, and of an answer only the kinds of its frames are looked at: one with data is an
answer, one with trailers alone a refusal.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Self, cast

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_CONCURRENT_STREAMS: Final = 3
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_WINDOW: Final = 2**30
_PUSHBACK: Final = b"grpc-retry-pushback-ms"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header as it is, short ones only: not indexed, not compressed."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Ended(NamedTuple):
    """How one call ended."""

    seconds: float
    """From its start to its end."""
    answered: bool
    """Whether there was an answer."""
    pushback: float | None
    """After how many seconds to try again; ``None``: the server did not say."""


class _Call:
    """A call that has not ended."""

    __slots__ = ("answered", "begin", "ended")

    def __init__(self, ended: Callable[[Ended], None]) -> None:
        self.begin = time.perf_counter()
        self.ended = ended
        self.answered = False


class Connection(asyncio.Protocol):
    """One connection to the server.

    Args:
        path: the method that is called.

    Attributes:
        max_streams: the most calls at a time that the server allows.
    """

    def __init__(self, path: str) -> None:
        self.max_streams = 2**31
        self._ready = asyncio.get_running_loop().create_future()
        self._headers = b"".join(
            [
                _literal(b":method", b"POST"),
                _literal(b":scheme", b"http"),
                _literal(b":path", path.encode()),
                _literal(b":authority", b"127.0.0.1"),
                _literal(b"content-type", b"application/grpc"),
                _literal(b"te", b"trailers"),
            ]
        )
        self._next = 1
        self._open: dict[int, _Call] = {}
        self._rest = b""
        self._received = 0

    @classmethod
    async def open(cls, port: int, path: str) -> Self:
        """Connect, and wait for the settings of the server."""
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(path), "127.0.0.1", port)
        await connection._ready
        return connection

    @property
    def in_flight(self) -> int:
        """How many calls run."""
        return len(self._open)

    def call(self, body: bytes, ended: Callable[[Ended], None], *, timeout: int = 0) -> None:
        """Send a request; ``ended`` is called once. ``timeout`` is the deadline in seconds; 0: none."""
        stream, self._next = self._next, self._next + 2
        self._open[stream] = _Call(ended)
        headers = self._headers + _literal(b"grpc-timeout", b"%dS" % timeout) if timeout else self._headers
        self._transport.write(
            frame(HEADERS, END_HEADERS, stream, headers)
            + frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(body)) + body)
        )

    def close(self) -> None:
        """Disconnect."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _WINDOW)
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW))
        )

    def connection_lost(self, error: Exception | None) -> None:
        for stream in list(self._open):
            self._end(stream)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        position, end = 0, len(data)
        while end - position >= 9:
            size = data[position] << 16 | data[position + 1] << 8 | data[position + 2]
            if end - position < 9 + size:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9], "big")
            position += 9
            if kind == DATA:
                if size > 5 and stream in self._open:
                    self._open[stream].answered = True
                self._received += size
            elif kind == HEADERS:
                if flags & END_STREAM:
                    self._end(stream, data[position : position + size])
            elif kind == RST_STREAM:
                self._end(stream)
            elif kind != WINDOW_UPDATE:
                self._control(kind, flags, data[position : position + size])
            position += size
        self._rest = data[position:]
        if self._received > _WINDOW // 2:
            self._transport.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for number, value in struct.iter_unpack(">HI", payload):
                if number == MAX_CONCURRENT_STREAMS:
                    self.max_streams = value
            self._transport.write(frame(SETTINGS, ACK, 0, b""))
            if not self._ready.done():
                self._ready.set_result(None)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))

    def _end(self, stream: int, trailers: bytes = b"") -> None:
        call = self._open.pop(stream, None)
        if call is None:
            return
        pushback = None
        if not call.answered and (found := trailers.find(_PUSHBACK)) >= 0:
            at = found + len(_PUSHBACK)
            pushback = int(trailers[at + 1 : at + 1 + trailers[at]]) / 1000
        call.ended(Ended(seconds=time.perf_counter() - call.begin, answered=call.answered, pushback=pushback))
