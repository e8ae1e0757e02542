"""One HTTP request to llama.cpp over a Unix socket, its answer read as it comes.

Each request has a connection of its own: closing that is how llama.cpp is told to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READ_BYTES = 1 << 16


class BrokenConnection(Exception):
    """The other side is gone, or ended before its answer did."""


class Response:
    """The answer to one request."""

    def __init__(self, status: int, headers: dict[bytes, bytes], reader: asyncio.StreamReader) -> None:
        self.status = status
        """The HTTP status."""
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        self._length = int(headers.get(b"content-length", 0))
        self._reader = reader

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; what has come together is one piece."""
        left = self._length
        raw = _chunks(self._reader) if self._chunked else _plain(self._reader, left)
        async for piece in raw:
            yield piece

    async def events(self) -> AsyncIterator[list[bytes]]:
        """The data of the server-sent events; those that have come together are one list, never an empty one."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            if events := [line[6:] for line in lines if line.startswith(b"data: ")]:
                yield events


@asynccontextmanager
async def post(socket: str, path: str, body: bytes) -> AsyncIterator[Response]:
    """Send ``body``, which is JSON, and give the answer. Leaving the context early ends the work at the other side.

    Raises:
        BrokenConnection: also while the answer is read.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = [line.partition(b":") for line in lines[1:] if line]
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
        yield Response(int(lines[0].split()[1]), headers, reader)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise BrokenConnection(str(error)) from error
    finally:
        if writer is not None:
            # Not `close`, which would first wait until all is sent.
            writer.transport.abort()


async def _plain(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length > 0:
        piece = await _some(reader)
        length -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Take the framing of chunked transfer off; frames that have come together are one piece."""
    raw = bytearray()
    while True:
        ready: list[bytes] = []
        position = 0
        while (line_end := raw.find(b"\r\n", position)) >= 0:
            size = int(raw[position:line_end], 16)
            end = line_end + 2 + size
            if not size or len(raw) < end + 2:
                break
            ready.append(bytes(raw[line_end + 2 : end]))
            position = end + 2
        if ready:
            yield b"".join(ready)
        if line_end >= 0 and not size:
            return
        del raw[:position]
        raw += await _some(reader)


async def _some(reader: asyncio.StreamReader) -> bytes:
    piece = await reader.read(READ_BYTES)
    if not piece:
        raise BrokenConnection("the connection ended before the answer did")
    return piece
