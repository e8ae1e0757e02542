"""A model provider for tests: a real HTTP/1.1 server with OpenAI's paths that fails in every way real ones do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Iterator
from http.client import responses
from typing import Final, Self, assert_never

from tests.upstream.books import Call
from tests.upstream.replies import (
    Body,
    Close,
    End,
    Hang,
    Head,
    Plan,
    Raw,
    Report,
    Reset,
    Step,
    Token,
    Until,
    Wait,
    Well,
    in_turn,
)

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the socket sends RST instead of FIN."""
_TLS_HANDSHAKE: Final = b"\x16"
"""What a client begins with that thinks the port to be a TLS port."""


class Upstream:
    """The server: an async context manager.

    Args:
        plan: what each call gets; by default a good answer.
        tls: the port is a TLS port.
        scheme: what the address says; by default what the port speaks.

    Attributes:
        plan: may be changed while it runs.
        calls: the books.
        connections: how many were made.
        open: how many are open now.
        port: where it listens, while it is entered.
    """

    def __init__(self, plan: Plan | None = None, *, tls: ssl.SSLContext | None = None, scheme: str = "") -> None:
        self.plan: Plan = plan or in_turn(Well())
        self.calls: list[Call] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self._tls = tls
        self._scheme = scheme or ("https" if tls else "http")
        self._failures: list[BaseException] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failures:
            raise self._failures[0]

    @property
    def url(self) -> str:
        """The ``base_url`` for a client."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def stop_listening(self) -> None:
        """Take no connection more."""
        self._server.close()

    async def called(self, times: int = 1) -> Call:
        """Wait until it has had so many calls; return the last of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= times)
        return self.calls[times - 1]

    async def idle(self) -> None:
        """Wait until every call has had its reply, or was given up."""
        for call in self.calls:
            await call.ended.wait()

    async def deserted(self, *, but: int = 0) -> None:
        """Wait until no connection is open, but so many."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open <= but)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(_Connection(self.connections, reader, writer)))
        self.connections += 1
        self.open += 1
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            self._failures.append(failure)

    async def _serve(self, connection: _Connection) -> None:
        # A client may leave at any moment, and how is up to it.
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while (call := await self._next_call(connection)) is not None:
                    async with self._changed:
                        self._changed.notify_all()
                    if not await connection.reply(call, self.plan(call).steps(call)):
                        break
        finally:
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()
            self.open -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _next_call(self, connection: _Connection) -> Call | None:
        """The next call on a connection; ``None`` if there is no more."""
        first = connection.ahead or await connection.reader.read(1)
        connection.ahead = b""
        if first == _TLS_HANDSHAKE:
            connection.writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return None
        if not first:
            return None
        request, *lines = (first + await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        method, path, _ = request.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
        call = Call(
            number=len(self.calls),
            connection=connection.number,
            method=method,
            path=path.partition("?")[0],
            query=path.partition("?")[2],
            headers=headers,
            body=json.loads(body) if body else None,
            time=asyncio.get_running_loop().time(),
        )
        self.calls.append(call)
        return call


class _Connection:
    """One connection from a client."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.ahead = b""
        """What was read of the next call while the last one was replied to."""
        self._chunked = False

    async def reply(self, call: Call, steps: Iterator[Step]) -> bool:
        """Carry out the steps, until the client leaves; whether another call may follow."""
        playing = asyncio.create_task(self._play(call, steps))
        listening = asyncio.create_task(self.reader.read(1))
        try:
            await asyncio.wait([playing, listening], return_when=asyncio.FIRST_COMPLETED)
            if not playing.done() and self._gone(listening):
                call.left = asyncio.get_running_loop().time()
                return False
            try:
                return await playing
            except OSError:
                call.left = asyncio.get_running_loop().time()
                return False
        finally:
            for task in (playing, listening):
                task.cancel()
            await asyncio.gather(playing, listening, return_exceptions=True)
            if not self._gone(listening) and not listening.cancelled():
                self.ahead = listening.result()
            call.ended.set()

    @staticmethod
    def _gone(listening: asyncio.Task[bytes]) -> bool:
        return (
            listening.done() and not listening.cancelled() and (bool(listening.exception()) or not listening.result())
        )

    async def _play(self, call: Call, steps: Iterator[Step]) -> bool:
        """Whether the connection can be used again."""
        for step in steps:
            match step:
                case Head():
                    self._chunked = step.chunked
                    self._write(_head(step))
                case Body(data):
                    self._body(data)
                case Raw(data):
                    self._write(data)
                case Token(text, data):
                    self._body(data)
                    call.tokens.append(text)
                case Report(usage, data):
                    self._body(data)
                    call.reported = usage
                case Wait(seconds):
                    if seconds:
                        await asyncio.sleep(seconds)
                case Until(event):
                    await event.wait()
                case Hang():
                    await asyncio.Event().wait()
                case Close():
                    await self.writer.drain()
                    return False
                case Reset():
                    await self.writer.drain()
                    self._reset()
                    return False
                case End():
                    self._write(b"0\r\n\r\n" if self._chunked else b"")
                    await self.writer.drain()
                    return self._chunked
                case _:
                    assert_never(step)
            await self.writer.drain()
        return False

    def _write(self, data: bytes) -> None:
        self.writer.write(data)

    def _body(self, data: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _reset(self) -> None:
        peer: socket.socket = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()


def _head(head: Head) -> bytes:
    headers = {"Content-Type": head.content_type, **head.headers}
    headers.update({"Transfer-Encoding": "chunked"} if head.chunked else {"Connection": "close"})
    lines = [
        f"HTTP/1.1 {head.status} {responses.get(head.status, 'Unknown')}",
        *[f"{name}: {headers[name]}" for name in headers],
    ]
    return "\r\n".join([*lines, "", ""]).encode()
