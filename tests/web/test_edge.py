"""What surrounds every call over HTTP, seen from a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Call
from mcp_server.settings import WebPaths, WebTLSSettings
from mcp_server.testing import EchoProvider, running
from tests.certificates import Authority
from tests.web.servers import exchange, get, replace, web_config

MODELS = "v1/models"


async def test_models_are_listed_over_http() -> None:
    """The same models as over gRPC, in OpenAI's form."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        status, text = await get(server.web_url + MODELS)
    assert status == 200, text
    assert [model["id"] for model in msgspec.json.decode(text)["data"]] == ["echo/echo"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Host": "[::1]attacker.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "chat.example"}, 200),
        ({"Host": "chat.example:8443", "Origin": "https://chat.example:8443"}, 200),
    ],
)
async def test_pages_of_others_cannot_use_the_server(headers: dict[str, str], status: int) -> None:
    """Neither by a name of their own for its address, nor from their own origin."""
    config = web_config(allowed_hosts=("chat.example",))
    async with running(config, providers={"echo": EchoProvider()}) as server:
        assert (await get(server.web_url + MODELS, headers))[0] == status
        assert (await get(server.web_url + "healthz", {"Host": headers.get("Host", "x")}))[0] == 200


@pytest.mark.parametrize(
    ("proxies", "header", "host"),
    [
        ((), "192.0.2.9", "127.0.0.1"),
        (("10.0.0.0/8",), "192.0.2.9", "127.0.0.1"),
        (("127.0.0.0/8",), "192.0.2.9", "192.0.2.9"),
        (("127.0.0.1", "192.0.2.0/24"), "198.51.100.7, 192.0.2.9", "198.51.100.7"),
    ],
)
async def test_only_trusted_proxies_say_where_a_call_comes_from(
    proxies: tuple[str, ...], header: str, host: str
) -> None:
    """Others could choose whose failures to be delayed for, and what the log says."""
    peers: list[str] = []

    @asynccontextmanager
    async def middleware(call: Call) -> AsyncIterator[None]:
        peers.append(call.peer)
        yield

    config = web_config(trusted_proxies=proxies)
    async with running(config, providers={"echo": EchoProvider()}, middleware=[middleware]) as server:
        assert (await get(server.web_url + MODELS, {"X-Forwarded-For": header}))[0] == 200
    assert [peer.rpartition(":")[0] for peer in peers] == [f"ipv4:{host}"]


async def test_a_path_without_a_route_is_not_found_in_the_form_of_its_api() -> None:
    """Under an API's path as its errors are, elsewhere as text."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        status, text = await get(server.web_url + "v1/nothing")
        assert (status, msgspec.json.decode(text)["error"]["type"]) == (404, "not_found_error")


async def test_everything_moves_with_the_base_path_and_parts_can_be_switched_off() -> None:
    """A proxy may offer the server under a path of its own."""
    config = web_config(base_path="/models-for/us", paths=WebPaths(openai=("/api",)))
    async with running(config, providers={"echo": EchoProvider()}) as server:
        assert server.web_url.endswith("/models-for/us/")
        assert (await get(server.web_url + "api/models"))[0] == 200
        assert (await get(server.web_url + "readyz")) == (200, "ready\n")
        assert (await get(f"http://{server.web_address}/v1/models"))[0] == 404
        # Whatever the request says about host and scheme.
        request = b"GET /models-for/us HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n"
        assert b"\r\nlocation: us/\r\n" in await exchange(server.web_address, request)
    async with running(
        web_config(paths=WebPaths(openai=(), anthropic=())), providers={"echo": EchoProvider()}
    ) as server:
        assert (await get(server.web_url + MODELS))[0] == 404


async def test_a_taken_port_is_named() -> None:
    """The message says which setting to change."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        with pytest.raises(ConfigError, match=rf"web.address: cannot listen on {server.web_address}: "):
            async with running(web_config(address=server.web_address), providers={"echo": EchoProvider()}):
                pass


@pytest.mark.parametrize(
    "data",
    [b"", b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", b"GET /v1/models HTTP/1.1\r\nX-Long: "],
)
async def test_a_connection_that_sends_no_request_is_closed(data: bytes) -> None:
    """Neither silence nor headers that never end hold a connection."""
    async with running(web_config(header_timeout=0.1), providers={"echo": EchoProvider()}) as server:
        async with asyncio.timeout(5):
            assert await exchange(server.web_address, data) == b""


async def test_the_body_of_a_request_that_is_answered_already_holds_no_connection() -> None:
    """It has as long as the headers, however slowly its pieces come; then the connection is closed."""
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    async with running(web_config(header_timeout=0.3), providers={"echo": EchoProvider()}) as server:
        host, _, port = server.web_address.rpartition(":")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
            gone = asyncio.create_task(reader.read())
            with contextlib.suppress(ConnectionError):
                while not gone.done():
                    writer.write(b"x")
                    await asyncio.wait([gone], timeout=0.02)
                await gone
            writer.close()


async def test_a_body_that_comes_behind_the_answer_keeps_the_connection() -> None:
    """The next request is answered on it, and it is closed when it is idle."""
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with running(web_config(keep_alive=1), providers={"echo": EchoProvider()}) as server:
        host, _, port = server.web_address.rpartition(":")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            for pieces in ([b"ab", b"cd"], [b"abcd" + request], [b"abcd"]):
                writer.write(head)
                answer = await reader.readuntil(b"HEAD\n")
                assert answer.startswith(b"HTTP/1.1 405 ")
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if request in pieces[-1]:
                    assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize(
    ("method", "path", "allowed", "form"),
    [
        ("GET", "v1/chat/completions", "POST", b'"type":"invalid_request_error","param":null,"code":"unimplemented"'),
        ("DELETE", "v1/models", "GET, HEAD", b'"param":null'),
        ("PUT", "v1/responses/resp_1", "DELETE, GET, HEAD", b'"param":null'),
        ("PATCH", "v1/conversations/conv_1", "DELETE, GET, HEAD, POST", b'"param":null'),
        ("GET", "v1/messages", "POST", b'{"type":"error","error":{"type":"invalid_request_error"'),
        ("POST", "", "GET, HEAD", b"POST /: the methods of this path are GET, HEAD\n"),
        ("POST", "healthz", "GET, HEAD", b"POST /healthz: the methods of this path are GET, HEAD\n"),
    ],
)
async def test_a_path_with_other_methods_names_them(method: str, path: str, allowed: str, form: bytes) -> None:
    """In the form of its API."""
    async with (
        running(web_config(), providers={"echo": EchoProvider()}) as server,
        aiohttp.ClientSession() as session,
        session.request(method, server.web_url + path) as response,
    ):
        assert (response.status, response.headers["allow"]) == (405, allowed)
        assert form in await response.read()


async def test_a_shared_path_with_other_methods_answers_in_the_form_of_the_caller() -> None:
    """Anthropic's, for its clients."""
    async with (
        running(web_config(), providers={"echo": EchoProvider()}) as server,
        aiohttp.ClientSession(headers={"anthropic-version": "2023-06-01"}) as session,
        session.delete(server.web_url + "v1/models") as response,
    ):
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
        assert (await response.json())["type"] == "error"


async def test_connections_beyond_the_limit_are_refused_and_the_others_go_on() -> None:
    """However many strangers open: there is room again for a new one as soon as one has gone."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    async with running(web_config(max_connections=2), providers={"echo": EchoProvider()}) as server:
        host, _, port = server.web_address.rpartition(":")
        async with asyncio.timeout(5):
            first, writer = await asyncio.open_connection(host, int(port))
            for _ in range(2):
                writer.write(request + b"\r\n")
                assert (await first.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 ")
            second, other = await asyncio.open_connection(host, int(port))
            assert (await exchange(server.web_address, request + b"\r\n")).startswith(b"HTTP/1.1 503 ")
            for reader, each in ((first, writer), (second, other)):
                each.write(request + b"Connection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
                each.close()
            last = await exchange(server.web_address, request + b"Connection: close\r\n\r\n")
            assert last.startswith(b"HTTP/1.1 200 ")


async def test_headers_without_end_are_refused() -> None:
    """They would fill the memory. The connection is closed, and the refusal arrives if the caller still reads."""
    data = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: 1234567890123456\r\n" * 10_000
    async with running(web_config(), providers={"echo": EchoProvider()}) as server:
        answered = await exchange(server.web_address, data)
    assert not answered or b" 400 " in answered.partition(b"\r\n")[0]


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


async def test_a_request_that_offers_another_protocol_is_answered_in_this_one() -> None:
    """With its body, whole or in pieces, also behind another request: Java's own client offers HTTP/2 in this way."""
    body = b'{"model": "echo/echo", "input": "words"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    offer = head + OFFER + length + body
    chunked = head + OFFER + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    last = head + b"Connection: close\r\n" + length + body
    async with running(web_config(), providers={"echo": EchoProvider()}) as server, asyncio.timeout(10):
        for data in (offer + last, offer * 3 + chunked * 2 + last):
            answered = await exchange(server.web_address, data)
            assert answered.count(b"HTTP/1.1 200 OK") == data.count(head), answered
        host, _, port = server.web_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for piece in (offer[:30], offer[30 : -len(body) - 2], offer[-len(body) - 2 : -5], offer[-5:] + last):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 2
        writer.close()


async def test_a_client_may_wait_until_its_body_is_wanted() -> None:
    """As ``curl`` does with long ones."""
    body = b'{"model": "echo/echo", "input": "words"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with running(web_config(), providers={"echo": EchoProvider()}) as server, asyncio.timeout(10):
        host, _, port = server.web_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT other.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n" + OFFER + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
        + OFFER
        + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_requests_that_a_proxy_could_read_otherwise_are_refused(data: bytes) -> None:
    """Nothing is smuggled behind them."""
    async with running(web_config(), providers={"echo": EchoProvider()}) as server, asyncio.timeout(5):
        answered = await exchange(server.web_address, data + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert answered.count(b"HTTP/1.1") == 1


async def test_the_edge_needs_what_grpc_needs_on_an_address_that_others_reach() -> None:
    """Authentication and TLS."""
    with pytest.raises(
        ConfigError, match=r"web.address: found \"0.0.0.0:0\", .* without authentication .* without TLS"
    ):
        async with running(web_config(address="0.0.0.0:0"), providers={"echo": EchoProvider()}):
            pass


@pytest.mark.parametrize("own", [True, False])
async def test_a_certificate_encrypts_and_is_renewed_without_a_restart(tmp_path: Path, own: bool) -> None:
    """That of the HTTP edge, or that of gRPC where it has none of its own. What is open stays open."""
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    tls, renewed = first.server(), second.server()
    assert tls.certificate is not None and tls.key is not None
    assert renewed.certificate is not None and renewed.key is not None
    config = web_config(tls=WebTLSSettings(certificate=tls.certificate, key=tls.key) if own else WebTLSSettings())
    if not own:
        config = replace(config, server=replace(config.server, tls=tls))

    def trusting(authority: Authority) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(authority.file)))

    async with running(config, providers={"echo": EchoProvider()}) as server:
        assert server.web_url.startswith("https://")
        url = server.web_url + "healthz"
        async with aiohttp.ClientSession(connector=trusting(first)) as old:
            async with old.get(url) as response:
                assert response.status == 200
            tls.certificate.write_bytes(renewed.certificate.read_bytes())
            tls.key.write_bytes(renewed.key.read_bytes())
            await server.reload(lambda: config)
            async with aiohttp.ClientSession(connector=trusting(second)) as new, new.get(url) as response:
                assert response.status == 200
            async with old.get(url) as response:
                assert response.status == 200
        async with aiohttp.ClientSession(connector=trusting(first)) as late:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await late.get(url)


async def test_an_application_can_serve_the_edge_under_a_path_of_its_own() -> None:
    """Without a listener of its own: the application's server, its middleware, its address."""
    async with running(web_config(address=""), providers={"echo": EchoProvider()}) as server:
        assert server.web_url == ""
        application = Starlette(routes=[Mount("/models", server.http_application())])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
            response = await client.get("/models/v1/models")
            assert [model["id"] for model in response.json()["data"]] == ["echo/echo"]
            assert (await client.get("/models/v1/nothing")).json()["error"]["type"] == "not_found_error"
