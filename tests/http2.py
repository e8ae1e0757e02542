"""A client of HTTP/2 that does what gRPC's own clients do not: reads nothing, sends halves of messages, or resets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

DATA: Final = 0
HEADERS: Final = 1
RESET: Final = 3
SETTINGS: Final = 4
PING: Final = 6
WINDOW_UPDATE: Final = 8
ACK: Final = 1
END_STREAM: Final = 1
END_HEADERS: Final = 4
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW: Final = 65_535
_FRAME_BYTES: Final = 16_384
_NO_TABLE: Final = struct.pack(">HI", 1, 0)
"""A setting: the server refers to no headers that it has sent before, so that each can be read alone."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str, metadata: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """The headers of a gRPC call, none of them compressed, each shorter than 127 bytes."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    pairs = [*[(name, value.encode()) for name, value in fields.items()], *metadata]
    return b"".join([b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value for name, value in pairs])


def message(body: bytes) -> bytes:
    """A message as gRPC frames it."""
    return b"\0" + struct.pack(">I", len(body)) + body


def resets(path: str, first: int, count: int) -> bytes:
    """Calls that are opened and reset at once; ``first``: the odd number of the first stream."""
    block, cancel = headers(path), struct.pack(">I", 8)
    return b"".join(
        [
            frame(HEADERS, END_HEADERS, number, block) + frame(RESET, 0, number, cancel)
            for number in range(first, first + 2 * count, 2)
        ]
    )


def connect(address: str) -> socket.socket:
    """A connection for a thread that only sends; it waits five seconds at a time."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
    connection.recv(1000)  # the settings of the server
    connection.sendall(frame(SETTINGS, ACK, 0, b""))
    return connection


class RawConnection:
    """One connection, which answers pings and heeds flow control, and lets the server send what its window allows.

    Attributes:
        received: how many bytes of data have come, by stream.
        ends: the payload of the last headers of each stream: its trailers.
        closed: set when the server has closed the connection.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._next = 1
        self._sending: list[asyncio.Task[None]] = []
        self._initial_window = INITIAL_WINDOW
        self._windows = {0: INITIAL_WINDOW}
        self._changed = asyncio.Event()
        self.received: defaultdict[int, int] = defaultdict(int)
        self.ends: dict[int, bytes] = {}
        self.closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(PREFACE + frame(SETTINGS, 0, 0, _NO_TABLE))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._reading, *self._sending):
            task.cancel()
        self._writer.close()

    def call(self, path: str, metadata: Sequence[tuple[str, bytes]] = ()) -> int:
        """Begin a call; returns its stream."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._initial_window
        self._writer.write(frame(HEADERS, END_HEADERS, stream, headers(path, metadata)))
        return stream

    def start_sending(self, stream: int, data: bytes) -> None:
        """Send data in a task of its own."""
        self._sending.append(asyncio.create_task(self.send(stream, data)))

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data as the windows allow."""
        position = 0
        while position < len(data):
            room = min(self._windows[0], self._windows[stream], _FRAME_BYTES)
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            piece = data[position : position + room]
            position += len(piece)
            self._windows[0] -= len(piece)
            self._windows[stream] -= len(piece)
            last = end and position == len(data)
            self._writer.write(frame(DATA, END_STREAM if last else 0, stream, piece))
            await self._writer.drain()

    def end(self, stream: int) -> None:
        """Send nothing more on a stream."""
        self._writer.write(frame(DATA, END_STREAM, stream, b""))

    def let_send(self, stream: int, size: int) -> None:
        """Allow the server to send so many more bytes, on the stream and on the connection."""
        for number in (0, stream):
            self._writer.write(frame(WINDOW_UPDATE, 0, number, struct.pack(">I", size)))

    async def ended(self, stream: int) -> bytes:
        """The trailers of a stream, once they have come."""
        while stream not in self.ends:
            self._changed.clear()
            await self._changed.wait()
        return self.ends[stream]

    async def has_ended(self, count: int) -> None:
        """Wait until so many streams have ended."""
        while len(self.ends) < count:
            self._changed.clear()
            await self._changed.wait()

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(9)
                kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                if kind == SETTINGS and not flags & ACK:
                    self._writer.write(frame(SETTINGS, ACK, 0, b""))
                    for place in range(0, len(payload), 6):
                        name, value = struct.unpack(">HI", payload[place : place + 6])
                        if name == 4:
                            for number in self._windows:
                                self._windows[number] += value - self._initial_window if number else 0
                            self._initial_window = value
                elif kind == PING and not flags & ACK:
                    self._writer.write(frame(PING, ACK, 0, payload))
                elif kind == WINDOW_UPDATE:
                    self._windows[stream] += struct.unpack(">I", payload)[0]
                elif kind == DATA:
                    self.received[stream] += len(payload)
                elif kind == HEADERS and flags & END_STREAM:
                    self.ends[stream] = payload
                self._changed.set()
        self.closed.set()
