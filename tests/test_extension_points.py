"""The pages about extension points, as written: each builds an installed package, which is found by its entry point.

The callers of the servers here need credentials.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from mcp_client import ContextEntry, MCPClient
from mcp_client.errors import AccessError, MCPError, Overloaded
from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import EmbedRequest
from mcp_server.settings import load
from mcp_server.testing import EchoProvider, running
from mcp_server.values import Embeddings
from mcp_server.values.key_secret import new_secret
from tests.packages import install
from tests.pages import blocks

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {
    "write-middleware.md": "audit",
    "write-an-authenticator.md": "tickets",
    "write-an-admission-rule.md": "one_at_a_time",
    "write-a-turn-observer.md": "billing",
    "write-a-context-type.md": "table",
    "write-a-service.md": "greeter",
}
"""The pages, and the module that each builds."""
ACME, GLOBEX, INITECH = [new_secret(key_id) for key_id in ("acme00000000", "globex000000", "initech00000")]
SETTINGS = f"""
server.address = "127.0.0.1:0"
metrics.address = "127.0.0.1:0"
models.default = "echo/echo"
store.type = "memory"
providers.echo = {{ type = "custom", class = "mcp_server.testing:EchoProvider" }}

[auth.keys.acme00000000]
hash = "sha256:{hashlib.sha256(ACME.encode()).hexdigest()}"
tenant = "acme"
scopes = ["chat", "sessions.read", "sessions.write"]

[auth.keys.globex000000]
hash = "sha256:{hashlib.sha256(GLOBEX.encode()).hexdigest()}"
tenant = "globex"
scopes = ["sessions.read"]

[auth.keys.initech00000]
hash = "sha256:{hashlib.sha256(INITECH.encode()).hexdigest()}"
tenant = "initech"
scopes = ["chat"]
"""


@pytest.fixture
def installed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package of a page is installed; its module."""
    page = DOCS / request.param
    name = PAGES[request.param]
    folder = tmp_path / "packages"
    folder.mkdir()
    for number, proto in enumerate(blocks(page, "proto")):
        assert number == 0
        (folder / f"{name}.proto").write_text(proto)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={folder}", f"{name}.proto"]
        subprocess.run(command, check=True)
    install(folder, name, "\n\n".join(blocks(page)), blocks(page, "toml")[0])
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module(name)
    for module in (name, f"{name}_pb2"):
        sys.modules.pop(module, None)


def page(name: str) -> pytest.MarkDecorator:
    """The test is about this page."""
    return pytest.mark.parametrize("installed", [name], indirect=True)


@asynccontextmanager
async def serving(folder: Path, name: str, **arguments: Any) -> AsyncIterator[UnifiedMCPServer]:
    """A server with the settings of a page, and with two API keys."""
    file = folder / "contextprotocol.toml"
    file.write_text("\n".join([SETTINGS, *blocks(DOCS / name, "toml")[1:]]))
    async with running(load(file, {}), **arguments) as server:
        yield server


def client(server: UnifiedMCPServer, secret: str | None = ACME, **metadata: str) -> MCPClient:
    """A client with an API key."""
    if secret is not None:
        metadata["authorization"] = f"Bearer {secret}"
    return MCPClient(
        server.address, metadata={key.replace("_", "-"): text for key, text in metadata.items()}, retry=None
    )


async def handled(server: UnifiedMCPServer, service: str, method: str, code: str) -> int:
    """How many calls ended with this status, by the metrics."""

    def page() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as answer:
            return str(answer.read().decode())

    labels = f'grpc_code="{code}",grpc_method="{method}",grpc_service="{service}"'
    for line in (await asyncio.to_thread(page)).splitlines():
        if line.startswith("grpc_server_handled_total{") and labels in ",".join(
            sorted(re.findall(r'\w+="[^"]*"', line))
        ):
            return int(float(line.rpartition(" ")[2]))
    return 0


@pytest.mark.parametrize("installed", PAGES, indirect=True)
async def test_the_tests_of_the_pages_pass(installed: Any, tmp_path: Path) -> None:
    """The suite, and the test with a whole server."""
    tests = [getattr(installed, name) for name in dir(installed) if name.startswith("test_")]
    suites = [getattr(installed, name)() for name in dir(installed) if name.startswith("Test")]
    assert len(suites) == (installed.__name__ != "greeter")
    tests += [getattr(suite, name) for suite in suites for name in dir(suite) if name.startswith("test_")]
    for test in tests:
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        parameters = [{mark.args[0]: value} for mark in marks for value in mark.args[1]] or [{}]
        for arguments in parameters:
            folder = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}
            awaitable = test(**arguments, **folder)
            if awaitable is not None:
                await awaitable


@page("write-middleware.md")
async def test_middleware_runs_inside_authentication(installed: Any, tmp_path: Path) -> None:
    """It sees who calls, and no call without credentials, which the metrics count."""
    async with serving(tmp_path, "write-middleware.md") as server:
        async with client(server) as caller, client(server, None) as stranger:
            await caller.chat("hello")
            with pytest.raises(AccessError):
                await stranger.chat("hello")
        assert await handled(server, "contextprotocol.v1.ChatService", "Chat", "UNAUTHENTICATED") == 1
    lines = (tmp_path / "audit.log").read_text().splitlines()
    assert [line for line in lines if " Chat " in line] == ["acme Chat OK"]


@page("write-an-authenticator.md")
async def test_an_authenticator_stands_beside_the_keys(installed: Any, tmp_path: Path) -> None:
    """Either credential will do, not both, and a ticket gives only its scopes."""
    secret = b"correct horse battery staple"
    ticket = installed.sign(secret, "initech", int(time.time()) + 60)
    async with serving(tmp_path, "write-an-authenticator.md") as server:
        async with client(server) as with_key, client(server, None, x_ticket=ticket) as with_ticket:
            assert (await with_key.chat("hello")).text == "hello"
            assert (await with_ticket.chat("hello")).text == "hello"
            with pytest.raises(AccessError, match=r"requires the scope .sessions\.write."):
                await with_ticket.create_session()
        for arguments in ({"secret": ACME, "x_ticket": ticket}, {"x_ticket": ticket + "0", "secret": None}):
            async with client(server, **arguments) as refused:
                with pytest.raises(AccessError) as caught:
                    await refused.chat("hello")
                assert caught.value.reason == "BAD_CREDENTIALS"


@page("write-an-authenticator.md")
async def test_a_stream_ends_when_its_ticket_expires(installed: Any, tmp_path: Path) -> None:
    """The server asks again while it runs."""
    ticket = installed.sign(b"correct horse battery staple", "acme", int(time.time()) + 2)
    serving_page = serving(tmp_path, "write-an-authenticator.md")
    async with serving_page as server, grpc.aio.insecure_channel(server.address) as channel:
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in watch(b"", metadata=[("x-ticket", ticket)]):
                pass
        assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED


class Held(EchoProvider):
    """A provider whose embeddings wait for the test."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.allowed = asyncio.Event()

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        """Wait, and embed."""
        self.asked.set()
        await self.allowed.wait()
        return await super().embed(request)


@page("write-an-admission-rule.md")
async def test_an_admission_rule_binds_each_tenant(installed: Any, tmp_path: Path) -> None:
    """A caller is asked to wait until the permit is released; the metrics count the refusal."""
    held = Held()
    async with serving(tmp_path, "write-an-admission-rule.md", providers={"echo": held}) as server:
        async with client(server) as caller, client(server, INITECH) as other:
            first = asyncio.create_task(caller.embed(["hello"]))
            await held.asked.wait()
            with pytest.raises(Overloaded, match="one call of embedding is allowed at a time") as refused:
                await caller.embed(["hello"])
            assert refused.value.retry_after == 1
            assert (await caller.chat("hello")).text == "hello"
            elsewhere = asyncio.create_task(other.embed(["hello"]))
            held.allowed.set()
            await asyncio.gather(first, elsewhere)
            await caller.embed(["hello"])
        assert await handled(server, "contextprotocol.v1.EmbeddingService", "Embed", "RESOURCE_EXHAUSTED") == 1
        assert await handled(server, "contextprotocol.v1.EmbeddingService", "Embed", "OK") == 3


@page("write-a-turn-observer.md")
async def test_an_observer_sees_the_turns_of_every_tenant(installed: Any, tmp_path: Path) -> None:
    """And none that was refused."""
    serving_page = serving(tmp_path, "write-a-turn-observer.md")
    async with (
        serving_page as server,
        client(server) as caller,
        client(server, GLOBEX) as reader,
        client(server, None) as stranger,
    ):
        await caller.chat("hello there")
        for refused in (reader, stranger):
            with pytest.raises(AccessError):
                await refused.chat("hello there")
    assert installed.billing.tokens == {"acme": 4}


@page("write-a-context-type.md")
async def test_a_context_type_is_active_when_installed(installed: Any, tmp_path: Path) -> None:
    """What a tenant stores with it belongs to that tenant."""
    serving_page = serving(tmp_path, "write-a-context-type.md")
    async with serving_page as server, client(server) as caller, client(server, GLOBEX) as other:
        years = ContextEntry(type="table", json=[["Ada", 1815]])
        session = await caller.create_session(context={"years": years})
        assert (await caller.get_session(session.name)).context["years"].json == [["Ada", 1815]]
        with pytest.raises(MCPError, match="requires a `json` value"):
            await caller.create_session(context={"years": ContextEntry(type="table", text="Ada")})
        with pytest.raises(MCPError) as hidden:
            await other.get_session(session.name)
        assert hidden.value.reason == "SESSION_NOT_FOUND"


@page("write-a-service.md")
async def test_a_service_is_refused_without_a_key(installed: Any, tmp_path: Path) -> None:
    """Or with one that lacks its scope, before the request is decoded; the metrics count every call."""
    async with serving(tmp_path, "write-a-service.md") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            greet: Any = channel.unary_unary("/company.Greeter/Greet")
            count: Any = channel.unary_stream("/company.Greeter/Count")
            request: bytes = installed.greeter_pb2.GreetRequest(name="Ada").SerializeToString()

            def key(secret: str) -> list[tuple[str, str]]:
                return [("authorization", f"Bearer {secret}")]

            for metadata, code in (
                ([], grpc.StatusCode.UNAUTHENTICATED),
                (key(new_secret("unknown00000")), grpc.StatusCode.UNAUTHENTICATED),
                (key(GLOBEX), grpc.StatusCode.PERMISSION_DENIED),
            ):
                for body in (request, b"\xff"):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await greet(body, metadata=metadata)
                    assert refused.value.code() == code
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        async for _ in count(body, metadata=metadata):
                            pass
                    assert refused.value.code() == code
            with pytest.raises(grpc.aio.AioRpcError) as malformed:
                await greet(b"\xff", metadata=key(ACME))
            assert malformed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            answer = installed.greeter_pb2.GreetResponse.FromString(await greet(request, metadata=key(ACME)))
            assert answer.text == "Hello, Ada of acme!"
            three = installed.greeter_pb2.CountRequest(to=3).SerializeToString()
            assert len([number async for number in count(three, metadata=key(ACME))]) == 3
            reflect: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
            (listed,) = [each async for each in reflect(iter([question]), metadata=key(ACME))]
            assert b"company.Greeter" in listed
        for method in ("Greet", "Count"):
            assert await handled(server, "company.Greeter", method, "UNAUTHENTICATED") == 4
            assert await handled(server, "company.Greeter", method, "PERMISSION_DENIED") == 2
            assert await handled(server, "company.Greeter", method, "OK") == 1
