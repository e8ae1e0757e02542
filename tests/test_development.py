"""Development mode shows the exception of every kind of plug-in to the caller, and no other mode does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
import msgspec
import pytest
import structlog
from google.protobuf import descriptor_pb2, descriptor_pool
from google.rpc import error_details_pb2, status_pb2

from mcp_client import ContextEntry, MCPClient, MCPError, MCPSyncClient
from mcp_server.api.codes import MAX_DETAILS_BYTES, status_of
from mcp_server.errors import ConfigError, Debug, InternalError, trace_of
from mcp_server.interfaces import Call, EmbedRequest, GenerateRequest, GRPCService, Permit, ProviderEvent, Work
from mcp_server.principal import Principal
from mcp_server.settings import Config, WebSettings, load
from mcp_server.settings import testing_config as settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import EchoProvider, running
from mcp_server.values import ContextEntry as Entry
from mcp_server.values import Embeddings, Model, Turn

replace = msgspec.structs.replace


def buggy() -> None:
    """What all plug-ins here do."""
    raise ValueError("a bug")


class Answers(EchoProvider):
    """Fails to answer."""

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        buggy()
        yield ""


class Embeds(EchoProvider):
    """Fails to embed."""

    async def embed(self, request: EmbedRequest, /) -> Embeddings:
        buggy()
        raise AssertionError


class Lists(EchoProvider):
    """Fails to list its models."""

    async def models(self) -> Sequence[Model]:
        buggy()
        return ()


class LooksUp(EchoProvider):
    """Fails to look a model up."""

    def look_up(self, name: str, /) -> Model | None:
        buggy()
        return None


class Validates:
    """Fails to validate."""

    def validate(self, entry: Entry, /) -> str | None:
        buggy()
        return None

    def render(self, name: str, entry: Entry, /) -> str:
        return ""


class Renders:
    """Fails to render."""

    def validate(self, entry: Entry, /) -> str | None:
        return None

    def render(self, name: str, entry: Entry, /) -> str:
        buggy()
        return ""


class Observes:
    """Fails to observe."""

    def turn_started(self, turn: Turn, /) -> None:
        buggy()

    def turn_ended(self, turn: Turn, /) -> None:
        buggy()

    def attempts_ended(self, service: str, attempts: Sequence[object], /) -> None:
        buggy()


@asynccontextmanager
async def entering(call: Call) -> AsyncIterator[None]:
    """Fails before the call."""
    buggy()
    yield


@asynccontextmanager
async def leaving(call: Call) -> AsyncIterator[None]:
    """Fails after the call."""
    yield
    buggy()


class Authenticates:
    """Fails to authenticate."""

    async def authenticate(self, call: Call, /) -> Principal | None:
        buggy()
        return None


class Admits:
    """Fails to admit."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        buggy()
        raise AssertionError


class Serves:
    """Fails to serve."""

    async def Chat(self, call: Call, request: object) -> None:
        buggy()


class Keeps(MemoryStore):
    """Fails to change a session."""

    async def change(self, *arguments: Any, **named: Any) -> Any:
        buggy()


def service() -> GRPCService:
    """A service with the methods of chats under another name."""
    file = descriptor_pb2.FileDescriptorProto(name="mine.proto", package="mine", syntax="proto3")
    file.message_type.add(name="Nothing")
    file.service.add(name="Mine").method.add(name="Chat", input_type=".mine.Nothing", output_type=".mine.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return GRPCService(descriptor=pool.FindServiceByName("mine.Mine"), implementation=Serves())


Use = Callable[[MCPClient], Any]


async def _chat(client: MCPClient) -> None:
    await client.chat("hello", model="echo/echo")


async def _stream(client: MCPClient) -> None:
    async with client.stream_chat("hello", model="echo/echo") as stream:
        async for _ in stream:
            pass


async def _embed(client: MCPClient) -> None:
    await client.embed(["hello"], model="echo/echo")


async def _create(client: MCPClient) -> None:
    await client.create_session()


async def _with_context(client: MCPClient) -> None:
    session = await client.create_session(context={"note": ContextEntry(type="odd", text="x")})
    await client.chat("hello", session=session.name, model="echo/echo")


async def _unlisted(client: MCPClient) -> None:
    await client.chat("hello", model="echo/unlisted")


class Case(NamedTuple):
    """A plug-in with a bug, and a call that meets it."""

    arguments: Mapping[str, Any]
    use: Use
    reason: str = "INTERNAL"


CASES = {
    "provider": Case({"providers": {"echo": Answers()}}, _chat),
    "provider, streamed": Case({"providers": {"echo": Answers()}}, _stream),
    "provider, embeddings": Case({"providers": {"echo": Embeds()}}, _embed),
    "provider, models": Case({"providers": {"echo": Lists()}}, _chat, "MODEL_NOT_FOUND"),
    "provider, look-up": Case({"providers": {"echo": LooksUp()}}, _unlisted, "MODEL_NOT_FOUND"),
    "context type, validating": Case({"context_types": {"odd": Validates()}}, _with_context),
    "context type, rendering": Case({"context_types": {"odd": Renders()}}, _with_context),
    "middleware, before": Case({"middleware": [entering]}, _chat),
    "middleware, after": Case({"middleware": [leaving]}, _chat),
    "authenticator": Case({"authenticators": [Authenticates()]}, _chat),
    "admission rule": Case({"admission": Admits()}, _chat),
    "store": Case({"store": Keeps()}, _create),
    "store, of a turn": Case({"store": Keeps()}, _chat),
}
"""Every kind but observers, whose failures end no call, and services, which the client does not know."""


def development(*, on: bool = True) -> Config:
    """Settings in development mode, or without it."""
    config = settings(default_model="echo/echo")
    return replace(config, server=replace(config.server, development=on))


def arguments(case: Case) -> dict[str, Any]:
    """The arguments of a server for the case."""
    return {"providers": {"echo": EchoProvider()}, **case.arguments}


@pytest.mark.parametrize("name", CASES)
async def test_the_caller_sees_the_exception(name: str) -> None:
    """Its type, its message, and the line that raised it."""
    case = CASES[name]
    async with running(development(), **arguments(case)) as server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(MCPError) as failed:
            await case.use(client)
    assert failed.value.reason == case.reason
    first, *frames = failed.value.debug.splitlines()
    assert first == "ValueError: a bug"
    assert "test_development.py:" in frames[-1]
    assert frames[-1].endswith('in buggy: raise ValueError("a bug")')
    assert str(failed.value) == f"{failed.value.message}\n{failed.value.debug}"
    assert "a bug" not in failed.value.message


@pytest.mark.parametrize("name", CASES)
async def test_without_development_mode_nobody_sees_it(name: str) -> None:
    """Nothing of it is in the error."""
    case = CASES[name]
    config = development(on=False)
    async with running(config, **arguments(case)) as server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(MCPError) as failed:
            await case.use(client)
    assert failed.value.debug == ""
    cause = failed.value.__cause__
    assert not [text for text in (str(failed.value), repr(cause)) if "a bug" in text or "test_development" in text]


async def test_a_turn_fails_if_its_observer_raises_at_the_start() -> None:
    """Its session stays free. Without development mode the turn goes on."""
    for on in (True, False):
        config = development(on=on)
        async with (
            running(config, providers={"echo": EchoProvider()}, observers=[Observes()]) as server,
            MCPClient(server.address, retry=None) as client,
        ):
            session = await client.create_session()
            for _ in range(2):
                if not on:
                    await client.chat("hello", session=session.name)
                    continue
                with pytest.raises(MCPError) as failed:
                    await client.chat("hello", session=session.name)
                assert failed.value.reason == "INTERNAL"
                assert failed.value.debug.startswith("ValueError: a bug")
            await client.embed(["hello"])


@pytest.mark.parametrize("on", [True, False])
async def test_a_service_shows_its_exception(on: bool) -> None:
    """As ``google.rpc.DebugInfo``, for any client."""
    async with (
        running(development(on=on), providers={"echo": EchoProvider()}, services=[service()]) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        call: Any = channel.unary_unary("/mine.Mine/Chat")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"")
    trailers: dict[str, Any] = dict(failed.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    found = error_details_pb2.DebugInfo()
    assert [detail.Unpack(found) for detail in status.details].count(True) == on
    assert found.detail == ("ValueError: a bug" if on else "")


def test_the_blocking_client_shows_it_too() -> None:
    """The same text."""

    async def serve() -> str:
        async with running(development(), providers={"echo": Answers()}) as server:

            def ask() -> str:
                with MCPSyncClient(server.address, retry=None) as client, pytest.raises(MCPError) as failed:
                    client.chat("hello")
                return str(failed.value)

            return await asyncio.to_thread(ask)

    assert "\nValueError: a bug\n" in asyncio.run(serve())


async def test_the_command_line_prints_it() -> None:
    """Below the message."""
    async with running(development(), providers={"echo": Answers()}) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_client.cli", "chat", "hello", "--server", server.address),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, printed = await process.communicate()
    assert process.returncode == 1
    assert "\nValueError: a bug\n" in printed.decode()


@pytest.mark.parametrize("on", [True, False])
async def test_the_http_apis_have_it_in_a_field_of_its_own(on: bool) -> None:
    """Whole answers and streams; the message is as always."""
    config = replace(development(on=on), web=WebSettings(address="127.0.0.1:0"))
    ask = {"model": "echo/echo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    async with (
        running(config, providers={"echo": Answers()}) as server,
        aiohttp.ClientSession(server.web_url) as http,
    ):
        for path, body in (
            ("/v1/chat/completions", ask),
            ("/v1/chat/completions", {**ask, "stream": True}),
            ("/v1/messages", ask),
            ("/v1/messages", {**ask, "stream": True}),
            (
                "/contextprotocol.v1.ChatService/Chat",
                {"model": "echo/echo", "messages": [{"role": "ROLE_USER", "parts": [{"text": "hello"}]}]},
            ),
        ):
            async with http.post(path, json=body) as response:
                text = await response.text()
            assert "internal error" in text
            assert ("ValueError: a bug" in text) is on, path
            assert ("test_development.py" in text) is on, path


async def test_a_look_up_that_failed_is_shown_to_its_caller_alone() -> None:
    """The exception may hold what that caller wrote."""

    class Particular(EchoProvider):
        def look_up(self, name: str, /) -> Model | None:
            if name == "secret":
                raise ValueError(f"a bug with {name}")
            return None

    async with (
        running(development(), providers={"echo": Particular()}) as server,
        MCPClient(server.address, retry=None) as client,
    ):
        shown = []
        for name in ("echo/secret", "echo/other"):
            with pytest.raises(MCPError) as failed:
                await client.chat("hello", model=name)
            shown.append(failed.value.debug.partition("\n")[0])
    assert shown == ["ValueError: a bug with secret", ""]


def test_a_long_exception_fits_into_the_status() -> None:
    """gRPC refuses trailers that are too large: the last frames are kept."""
    error = InternalError("x")
    error.debug = Debug(exception="é" * 9_000, frames=tuple([f"{number}" + "x" * 400 for number in range(8)]))
    status = status_of(error)
    assert status.ByteSize() <= MAX_DETAILS_BYTES
    found = error_details_pb2.DebugInfo()
    assert status.details[-1].Unpack(found)
    assert found.stack_entries[-1].startswith("7x")


def test_an_exception_that_utf_8_cannot_express_is_shown() -> None:
    """Half a surrogate pair, as in the name of a file, is escaped: the error must reach the caller."""
    error = InternalError("x")
    error.debug = Debug.of(trace_of(ValueError("caf\udce9")))
    found = error_details_pb2.DebugInfo()
    assert status_of(error).details[-1].Unpack(found)
    assert found.detail == r"ValueError: caf\udce9"


@pytest.mark.parametrize("address", ["server.address", "web.address"])
def test_other_machines_must_not_reach_it(address: str, tmp_path: Path) -> None:
    """Unless the settings say that this is meant."""
    table, key = address.split(".")
    file = tmp_path / "contextprotocol.toml"
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("")
    file.write_text(
        "server.development = true\nauth.stored_keys = true\n"
        'server.tls = { certificate = "cert.pem", key = "key.pem" }\n'
        f'{table}.{key} = "0.0.0.0:1"\n'
        'models.default = "echo/echo"\n'
        'providers.echo = { type = "custom", class = "mcp_server.testing:EchoProvider" }\n'
    )
    with pytest.raises(ConfigError, match=rf"{address}: found .* in development mode, .* server\.insecure = true"):
        load(file, {})
    load(file, {"CONTEXTPROTOCOL_SERVER__INSECURE": "true"})
    load(file, {"CONTEXTPROTOCOL_SERVER__DEVELOPMENT": "false"})


async def test_the_start_warns(tmp_path: Path) -> None:
    """In the log."""
    with structlog.testing.capture_logs() as lines:
        async with running(development(), providers={"echo": EchoProvider()}):
            pass
    assert [line["log_level"] for line in lines if "development mode" in line["event"]] == ["warning"]


async def test_the_record_of_a_turn_does_not_have_it() -> None:
    """It is for the caller of the moment: the store keeps the error as always."""
    async with (
        running(development(), providers={"echo": Answers()}) as server,
        MCPClient(server.address, retry=None) as client,
    ):
        with pytest.raises(MCPError) as failed:
            await client.chat("hello", request_id="one")
        turn = await client.get_turn(failed.value.turn)
        assert "a bug" not in repr(turn)
        with pytest.raises(MCPError) as again:
            await client.chat("hello", request_id="one")
    assert (again.value.message, again.value.debug) == (failed.value.message, "")


def test_the_option_of_the_command_sets_it() -> None:
    """With an address that other machines reach, the server does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", "serve", "--dev", "--address", "0.0.0.0:0"],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "CONTEXTPROTOCOL_AUTH__STORED_KEYS": "true",
            "CONTEXTPROTOCOL_SERVER__TLS__CERTIFICATE": "cert.pem",
            "CONTEXTPROTOCOL_SERVER__TLS__KEY": "key.pem",
        },
    )
    assert done.returncode == 2
    assert "--address: server.address: found" in done.stderr
    assert "in development mode" in done.stderr
