"""An HTTP proxy that asks for a password, as companies have one between their networks and the world."""

from __future__ import annotations

import asyncio
import base64
from typing import Final, Self

USER: Final = "user"
PASSWORD: Final = "sesame-street"


class ForwardProxy:
    """The proxy: an async context manager. Each connection is good for one host.

    Attributes:
        asked: the first line of each connection that was let in, and of those that were not.
        port: where it listens, while it is entered.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, password: str = PASSWORD) -> str:
        """Its address."""
        return f"http://{USER}:{password}@127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, _, headers = head.partition("\r\n")
        self.asked.append(first)
        allowed = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if f"proxy-authorization: basic {allowed}".lower() not in headers.lower():
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        method, target, _ = first.split(" ")
        host, _, port = target.removeprefix("http://").partition("/")[0].partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.removeprefix(f"http://{host}:{port}")
            back.write(head.replace(target, path, 1).encode())
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, back))
                both.create_task(_copy(there, writer))
        finally:
            back.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()
