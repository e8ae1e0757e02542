"""Callers over HTTP that read nothing, or send by halves, hold no more of the server than its settings allow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec
import pytest

from mcp_server.settings import Config, ServerSettings
from mcp_server.testing import EchoProvider, running
from tests.auth.keys import config_with, new_key
from tests.web.connect.client import CHAT, HELLO, STREAM, Client, envelope
from tests.web.connect.words import NAME, words
from tests.web.servers import web_config

replace = msgspec.structs.replace
MIB: Final = 2**20

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def config(**server: Any) -> Config:
    """An HTTP edge on a server with these settings."""
    return replace(web_config(), server=ServerSettings(address="127.0.0.1:0", **server))


@asynccontextmanager
async def opened(address: str, head: str, body: bytes = b"") -> AsyncIterator[Connection]:
    """A connection on which that was sent, and for which neither side keeps much."""
    host, _, port = address.rpartition(":")
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
    yield reader, writer
    writer.transport.abort()


def request(path: str, body: bytes, kind: str, extra: str = "", *, size: int | None = None) -> str:
    """The head of a request."""
    length = len(body) if size is None else size
    return f"POST {path} HTTP/1.1\nhost: localhost\ncontent-type: {kind}\ncontent-length: {length}\n{extra}"


@pytest.mark.parametrize("kind", ["application/connect+json", "application/grpc-web+json"])
async def test_a_caller_that_reads_nothing_is_waited_for_and_cut_off(kind: str) -> None:
    """Nothing is sent ahead of it without end, and an error could not be sent to it either."""
    flood, service = words()
    body = envelope(b'"w"')
    settings = config(reader_timeout=0.5)
    async with (
        running(settings, providers={"echo": EchoProvider()}, services=[service]) as server,
        opened(server.web_address, request(f"/{NAME}/Flood", body, kind), body) as (reader, _),
        asyncio.timeout(30),
    ):
        await flood.stopped.wait()
        assert flood.flooding < 150  # of 100 kB; the buffers of the system grow to some megabytes
        await cut_off(reader)


async def test_an_answer_that_nobody_reads_is_counted_and_cut_off() -> None:
    """A unary one too, behind which there is nothing more to write."""
    _, service = words()
    settings = config(reader_timeout=1, max_bytes_in_flight=32 * MIB)
    path, body = f"/{NAME}/Long", b'"x"'
    head = request(path, body, "application/json")
    async with (
        running(settings, providers={"echo": EchoProvider()}, services=[service]) as server,
        Client(server.web_address) as client,
        opened(server.web_address, head, body) as (first, _),
        opened(server.web_address, head, body) as (second, _),
        asyncio.timeout(30),
    ):
        assert b" 200 " in await first.readline()
        assert b" 200 " in await second.readline()
        refused = await client.post(path, body)
        assert (refused.status, refused.json["code"]) == (429, "resource_exhausted")
        for _ in range(200):  # until the two are given up
            if (await client.post(path, body)).status == 200:
                break
            await asyncio.sleep(0.1)
        await cut_off(first)
        await cut_off(second)


async def test_a_request_that_arrives_by_halves_is_refused() -> None:
    """After the time that the server waits for it."""
    head = request(CHAT, b"", "application/json", size=1000)
    async with (
        running(config(receive_timeout=0.3), providers={"echo": EchoProvider()}) as server,
        opened(server.web_address, head, b'{"messages":') as (reader, _),
        asyncio.timeout(20),
    ):
        assert b" 429 " in await reader.readline()
        await reader.readuntil(b"did not arrive within 0.3 s")


async def test_a_body_that_is_too_large_is_refused_before_it_has_arrived() -> None:
    """By its announced size, or without one as soon as the limit is passed."""
    announced = request(CHAT, b"", "application/json", size=65_537)
    chunked = announced.replace("content-length: 65537", "transfer-encoding: chunked").replace(CHAT, STREAM)
    chunked = chunked.replace("application/json", "application/grpc-web")
    async with (
        running(web_config(max_body_bytes=65_536), providers={"echo": EchoProvider()}) as server,
        opened(server.web_address, announced) as (by_size, _),
        opened(server.web_address, chunked, (b"4000\r\n" + bytes(0x4000) + b"\r\n") * 5) as (by_bytes, _),
        asyncio.timeout(20),
    ):
        assert b" 413 " in await by_size.readline()
        assert b" 200 " in await by_bytes.readline()
        await by_bytes.readuntil(b"grpc-status: 3")


async def test_callers_without_credentials_are_refused_before_they_have_sent() -> None:
    """What they would send takes no room, and is not looked at."""
    key = new_key("red")
    settings = replace(config_with(key), web=web_config().web)
    head = request(CHAT, b"", "application/json", size=15 * MIB)
    async with (
        running(settings, providers={"echo": EchoProvider()}) as server,
        opened(server.web_address, head) as (reader, _),
        Client(server.web_address) as client,
        asyncio.timeout(20),
    ):
        assert b" 401 " in await reader.readline()
        await reader.readuntil(b"BAD_CREDENTIALS")
        assert (await client.post(CHAT, HELLO, authorization=f"Bearer {key.secret}")).status == 200
        assert (await client.post(CHAT, HELLO, "text/plain")).status == 401


async def cut_off(reader: asyncio.StreamReader) -> None:
    """Read what has come: it must break off before the end."""
    read = b""
    with suppress(ConnectionResetError):
        while data := await reader.read(65_536):
            read = (read + data)[-100:]
    assert not read.endswith((b"0\r\n\r\n", b"]}"))
