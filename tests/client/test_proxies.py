"""Proxy variables of the environment: they never apply to this machine, and to others they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mcp_client import MCPClient
from mcp_client._core.addresses import may_use_proxy, target
from tests.client.beside import StandIn

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


class ConnectProxy:
    """An HTTP proxy that tunnels every connection to one address.

    Args:
        upstream: ``host:port``.

    Attributes:
        requests: the first lines of the requests.
    """

    def __init__(self, upstream: str) -> None:
        self.requests: list[str] = []
        self._host, _, self._port = upstream.partition(":")

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.partition("\r\n")[0])
        there_reader, there_writer = await asyncio.open_connection(self._host, int(self._port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    """What is behind the proxy."""
    async with StandIn() as server:
        yield server


@pytest.fixture
async def proxy(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ConnectProxy]:
    """The proxy of every variable."""
    async with ConnectProxy(server.address) as proxy:
        for name in VARIABLES:
            monkeypatch.setenv(name, proxy.address)
        for name in ("no_proxy", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield proxy


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}"])
async def test_this_machine_needs_no_proxy(server: StandIn, proxy: ConnectProxy, form: str) -> None:
    """In whatever form its address is written."""
    async with MCPClient(form.format(server.address.rpartition(":")[2])) as client:
        assert (await client.chat("Hi")).text == "ok"
    assert proxy.requests == []


async def test_one_of_several_addresses_on_this_machine_is_reached(server: StandIn, proxy: ConnectProxy) -> None:
    """Also if others are elsewhere."""
    async with MCPClient([server.address, "192.0.2.1:50051"]) as client:
        assert (await client.chat("Hi")).text == "ok"
    assert proxy.requests == []


async def test_other_machines_are_reached_through_the_proxy(proxy: ConnectProxy) -> None:
    """It resolves their names."""
    async with MCPClient("chat.example:443") as client:
        assert (await client.chat("Hi")).text == "ok"
    assert proxy.requests == ["CONNECT chat.example:443 HTTP/1.1"]


async def test_exceptions_from_the_proxy_apply(proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setenv("no_proxy", "chat.invalid")
    async with MCPClient("chat.invalid:443", retry=None) as client:
        with pytest.raises(Exception, match=r"chat\.invalid"):
            await client.chat("Hi")
    assert proxy.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "LOCALHOST.:1",
        "api.localhost:1",
        "127.8.9.1:1",
        "0.0.0.0:1",
        "[::1]:1",
        "::1",
        "[::]:1",
        "[::ffff:127.0.0.1]:1",
        "ipv6:[::1]:1",
        "ipv6:%5B::1%5D:1",
        "dns:localhost:1",
        "dns://192.0.2.53/localhost:1",
        "unix:/run/chat.sock",
        "unix:///run/chat.sock",
        "unix-abstract:chat",
        ["localhost:1", "127.0.0.1:2"],
        ["10.0.0.1:1", "10.0.0.2:1"],  # gRPC would ask the proxy for both at once
    ],
)
def test_addresses_without_a_proxy_are_recognised(address: str | list[str]) -> None:
    """Those of this machine in all of gRPC's forms."""
    assert not may_use_proxy(target(address))


@pytest.mark.parametrize(
    "address",
    [
        "example.com:1",
        "localhost.example.com:1",
        "dns:///127.0.0.1.example.com:1",
        "10.0.0.1:1",
        "128.0.0.1",
        "[2001:db8::1]:1",
        "dns://127.0.0.1/chat.example.com:1",
        "ipv4:10.0.0.1:1",
        ["10.0.0.1:1"],
    ],
)
def test_addresses_behind_a_proxy_are_recognised(address: str | list[str]) -> None:
    """Although parts of them look like this machine."""
    assert may_use_proxy(target(address))
