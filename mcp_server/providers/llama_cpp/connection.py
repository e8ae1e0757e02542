"""One HTTP request to llama.cpp over a Unix socket, its answer read as it comes.

Each request has a connection of its own. Closing the sending half of it makes llama.cpp stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Self

READ_BYTES = 1 << 16


class BrokenConnection(Exception):
    """The other side is gone, or ended before its answer did."""


class Connection:
    """One request and its answer. Made by :meth:`open`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, progress: Callable[[], None]
    ) -> None:
        self.status = 0
        """The HTTP status of the answer; 0 while there is none."""
        self.ended = False
        """Whether the answer was read to its end, or will not come."""
        self._headers: dict[bytes, bytes] = {}
        self._reader = reader
        self._writer = writer
        self._progress = progress

    @classmethod
    async def open(cls, socket: str, progress: Callable[[], None]) -> Self:
        """Connect.

        Args:
            socket: the path of the socket.
            progress: called whenever something has come.

        Raises:
            BrokenConnection: nobody listens.
        """
        try:
            return cls(*await asyncio.open_unix_connection(socket), progress)
        except OSError as error:
            raise BrokenConnection(str(error)) from error

    async def ask(self, path: str, body: bytes = b"", *, method: str = "POST") -> None:
        """Send a request with a JSON body, and wait for the status.

        Raises:
            BrokenConnection: no answer came.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}"
        )
        try:
            self._writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
            await self._writer.drain()
            lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            self.ended = True
            raise BrokenConnection(str(error)) from error
        self._progress()
        pairs = [line.partition(b":") for line in lines[1:] if line]
        self._headers = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
        self.status = int(lines[0].split()[1])

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; what has come together is one piece.

        Raises:
            BrokenConnection: it ended in the middle.
        """
        chunked = self._headers.get(b"transfer-encoding") == b"chunked"
        try:
            async for piece in self._chunks() if chunked else self._plain(int(self._headers.get(b"content-length", 0))):
                yield piece
        except OSError as error:
            self.ended = True
            raise BrokenConnection(str(error)) from error
        self.ended = True

    async def events(self) -> AsyncIterator[list[bytes]]:
        """The data of the server-sent events; those that have come together are one list, never an empty one."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            if events := [line[6:] for line in lines if line.startswith(b"data: ")]:
                yield events

    async def leave(self) -> None:
        """Have the other side stop, and return when it has taken note of that."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
            while await self._reader.read(READ_BYTES):
                pass
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def _plain(self, length: int) -> AsyncIterator[bytes]:
        while length > 0:
            piece = await self._some()
            length -= len(piece)
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
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
            raw += await self._some()

    async def _some(self) -> bytes:
        piece = await self._reader.read(READ_BYTES)
        if not piece:
            self.ended = True
            raise BrokenConnection("the connection ended before the answer did")
        self._progress()
        return piece
