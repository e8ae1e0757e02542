"""Plug-ins of every kind, from every place: entry points, settings and arguments.

The pages that build them have their own tests: test_extension_points.py, and in contracts/.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcp_client import MCPClient
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError, NotAllowed, Overloaded
from mcp_server.interfaces import Call, GRPCService, Permit, Work
from mcp_server.plugin_settings import PluginSettings, ProviderSettings, Secret
from mcp_server.plugins import KINDS, Registry, build
from mcp_server.principal import Principal
from mcp_server.settings import load, read
from mcp_server.settings import testing_config as settings
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import EchoProvider, running
from tests.packages import install

SETTINGS = """
server.address = "127.0.0.1:0"
metrics.address = ""
models.default = "echo/echo"
providers.echo = { type = "custom", class = "mcp_server.testing:EchoProvider" }
"""


@asynccontextmanager
async def refusing(call: Call) -> AsyncIterator[None]:
    """Middleware that lets nobody chat."""
    if call.method == "Chat":
        raise NotAllowed("no chats today")
    yield


class Full:
    """Admission that is never granted."""

    async def admit(self, principal: Principal, work: Work, /) -> Permit:
        raise Overloaded("the server is full")


async def test_middleware_store_and_admission_can_be_arguments() -> None:
    """Each takes effect."""
    store = MemoryStore()
    async with running(store=store, middleware=[refusing]) as server, MCPClient(server.address) as client:
        session = await client.create_session("tour")
        assert await store.session("default", "tour") is not None
        with pytest.raises(Exception, match="no chats today"):
            await client.chat("hello", session=session.name)
    async with running(admission=Full()) as server, MCPClient(server.address, retry=None) as client:
        with pytest.raises(Exception, match="the server is full"):
            await client.chat("hello")


async def test_a_provider_of_an_argument_replaces_the_configured_one() -> None:
    """Which is not even built."""

    class Broken(ProviderSettings):
        def build(self, name: str) -> Any:
            raise AssertionError

    config = msgspec.structs.replace(settings(default_model="x/echo"), providers={"x": Broken()})
    async with running(config, providers={"x": EchoProvider()}) as server, MCPClient(server.address) as client:
        assert (await client.chat("hello")).text == "hello"


# -- what is refused --------------------------------------------------------------------------------------------------


def plugged(folder: Path, monkeypatch: pytest.MonkeyPatch, group: str, entries: str, name: str = "plugged") -> None:
    """A package with entry points of one group is installed."""
    monkeypatch.syspath_prepend(folder)
    code = "class Plain:\n    pass\n\nplain = Plain()\n"
    install(folder, name, code, f'[project.entry-points."{group}"]\n{entries}')


def problem(folder: Path, text: str) -> str:
    """What stops a server with these settings."""
    file = folder / "contextprotocol.toml"
    file.write_text(SETTINGS + text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    return str(caught.value).removeprefix(f"{file}: ")


@pytest.mark.parametrize("kind", ["middleware", "authenticators", "admission_rules", "observers", "services"])
def test_a_plug_in_that_is_not_installed_is_refused(kind: str, tmp_path: Path) -> None:
    """By its key."""
    expected = f'{kind}.nope.type: found "nope", but no plug-in is installed'
    assert problem(tmp_path, f"[{kind}.nope]") == expected


@pytest.mark.parametrize(
    ("group", "entries", "text", "expected"),
    [
        (
            "middleware",
            'gone = "plugged:gone"',
            "[middleware.gone]",
            (
                "middleware.gone.type: the entry point 'gone' (plugged:gone) of the group contextprotocol.middleware "
                "cannot be loaded: module 'plugged' has no attribute 'gone'"
            ),
        ),
        (
            "providers",
            'plain = "plugged:Plain"',
            '[providers.x]\ntype = "plain"',
            (
                "providers.x.type: the entry point 'plain' of the group contextprotocol.providers has no settings "
                'table; write type = "custom" and class = "plain"'
            ),
        ),
        (
            "stores",
            'plain = "plugged:Plain"',
            '[store]\ntype = "plain"',
            "store.type: the entry point 'plain' of the group contextprotocol.stores has no settings table",
        ),
        (
            "middleware",
            'plain = "plugged:plain"',
            "[middleware.plain]\nlevel = 1",
            "middleware.plain.level: unknown key; expected type",
        ),
        (
            "stores",
            'sqlite = "plugged:Plain"',
            '[store]\ntype = "other"',
            (
                "store.type: the entry point 'sqlite' of the group contextprotocol.stores has the name of a built-in; "
                "rename it"
            ),
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, entries: str, text: str, expected: str
) -> None:
    """With the key, and with what to do."""
    plugged(tmp_path, monkeypatch, f"contextprotocol.{group}", entries)
    assert problem(tmp_path, text) == expected


def test_a_table_may_name_its_plug_in_by_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one plug-in can be used twice; the effective settings show it."""
    plugged(tmp_path, monkeypatch, "contextprotocol.middleware", 'plain = "plugged:plain"')
    file = tmp_path / "contextprotocol.toml"
    file.write_text(SETTINGS + '[middleware]\nplain = {}\nsecond = { type = "plain" }')
    loaded = read(file, {})
    assert list(loaded.config.middleware) == ["plain", "second"]
    types = {setting.key: setting.value for setting in loaded.settings if setting.key.startswith("middleware")}
    assert types == {"middleware.plain.type": "plain", "middleware.second.type": "plain"}


@pytest.mark.parametrize("kind", KINDS)
def test_two_packages_cannot_have_one_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them would be meant is a matter of chance."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        plugged(tmp_path / name, monkeypatch, KINDS[kind].group, 'same = "plugged:plain"', name)
    with pytest.raises(ConfigError, match=r"'same' .* is registered twice"):
        Registry().check()


async def test_a_server_that_has_not_started_can_be_stopped() -> None:
    """As cleanup code does, wherever the start failed."""
    server = UnifiedMCPServer(settings())
    await server.stop()
    await server.stop()


async def test_a_context_type_with_the_name_of_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an argument or as an entry point."""
    with pytest.raises(ConfigError, match="there is a context type 'json' already"):
        await UnifiedMCPServer(settings(), context_types={"json": object()}).start()  # type: ignore[dict-item]  # the name decides
    plugged(tmp_path, monkeypatch, KINDS["context_types"].group, 'text = "plugged:plain"')
    with pytest.raises(ConfigError, match="has the name of a built-in"):
        await UnifiedMCPServer(settings()).start()


async def test_a_service_of_the_contract_cannot_be_replaced() -> None:
    """Two services of one name would be served by chance."""
    from contextprotocol.v1 import chat_pb2

    chat = GRPCService(descriptor=chat_pb2.DESCRIPTOR.services_by_name["ChatService"], implementation=object())
    with pytest.raises(ConfigError, match="ChatService is served already"):
        await UnifiedMCPServer(settings(), services=[chat]).start()


def test_a_missing_extra_comes_with_the_command_that_installs_it() -> None:
    """For built-in plug-ins."""

    class Needing(PluginSettings):
        extra = "openai"

        def build(self, name: str) -> Any:
            importlib.import_module("no_such_library")

    with pytest.raises(ConfigError) as caught:
        build(Needing(), "x", "providers.x")
    assert str(caught.value) == "providers.x: needs the extra `openai`: pip install 'contextprotocol[openai]'"


def test_a_plug_in_that_fails_shows_no_secret() -> None:
    """Whatever its author puts into the message."""

    class Telling(PluginSettings, kw_only=True):
        key: Secret

        def build(self, name: str) -> Any:
            raise ValueError(f"bad key {self.key.reveal()}")

    with pytest.raises(ConfigError, match=r"^store: cannot be built: bad key \*\*\*$"):
        build(Telling(key=Secret("sk-123")), "x", "store")


def test_a_plug_in_that_cannot_be_built_is_reported_with_a_reason() -> None:
    """Even if its author forgot the method, or the message."""

    class Unfinished(PluginSettings):
        pass

    class Silent(PluginSettings):
        def build(self, name: str) -> Any:
            raise AssertionError

    with pytest.raises(ConfigError, match=r"^store: cannot be built: Unfinished does not define build\(\)$"):
        build(Unfinished(), "x", "store")
    with pytest.raises(ConfigError, match=r"^store: cannot be built: AssertionError$"):
        build(Silent(), "x", "store")
