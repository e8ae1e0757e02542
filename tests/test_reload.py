"""Settings of a running server: what changes at once, what does not, and what happens to turns meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from structlog.testing import capture_logs

from mcp_client import (
    TLS,
    BadCredentials,
    MCPClient,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    Reply,
    ServerUnavailable,
    TurnTimeout,
)
from mcp_client import ProviderUnavailable as ClientProviderUnavailable
from mcp_server.app import UnifiedMCPServer
from mcp_server.errors import ConfigError, ProviderUnavailable
from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent
from mcp_server.models.inventory import Inventory
from mcp_server.plugin_settings import ProviderSettings
from mcp_server.provider_set import ProviderSet
from mcp_server.settings import Config, MetricsSettings, ModelSettings, RoutingSettings, Secret, TLSSettings
from mcp_server.settings import testing_config as settings
from mcp_server.settings.tables import LimitSettings, TenantSettings
from mcp_server.settings.watch import FileWatch
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider, running
from tests.auth.keys import config_with, new_key
from tests.certificates import Authority, encrypted

replace = msgspec.structs.replace


class ProviderTable(ProviderSettings):
    """The settings table of a provider that a test has made."""

    made: ClassVar[dict[str, Provider]] = {}

    label: str
    """Which one."""
    key: Secret = Secret("")
    """A secret."""

    def build(self, name: str) -> Provider:
        """Return it."""
        return self.made[self.label]


class ClosingProvider(ScriptedProvider):
    """Notes when it is closed."""

    def __init__(self, *scripts: Sequence[Any]) -> None:
        super().__init__(*scripts)
        self.closed = asyncio.Event()

    async def close(self) -> None:
        """Note it."""
        self.closed.set()


@pytest.fixture(autouse=True)
def made() -> Iterator[dict[str, Provider]]:
    """The providers by their labels, empty for each test."""
    ProviderTable.made.clear()
    yield ProviderTable.made
    ProviderTable.made.clear()


def config(**providers: ProviderTable) -> Config:
    """Settings with these providers; ``a/scripted`` is the default model."""
    return replace(settings(default_model="a/scripted"), providers=providers)


def always(value: Config) -> Callable[[], Config]:
    """A reader of settings that finds these."""
    return lambda: value


def failing(problem: str) -> Callable[[], Config]:
    """A reader of settings that cannot be used."""

    def read() -> Config:
        raise ConfigError(problem)

    return read


async def say(server: UnifiedMCPServer, **arguments: Any) -> str:
    """The answer of one chat over a connection of its own."""
    async with MCPClient(server.address, retry=None) as client:
        reply: Reply = await client.chat("hello", **arguments)
        return reply.text


async def test_a_turn_keeps_the_provider_that_it_began_with(made: dict[str, Provider]) -> None:
    """The next turn is answered by the new one; the old one is closed as soon as its last turn has ended."""
    gate = Gate()
    old, new = ClosingProvider(["old ", gate, "still", Finish()]), ClosingProvider(["new", Finish()])
    made |= {"old": old, "new": new}
    first = config(a=ProviderTable(label="old"))
    async with running(first) as server:
        running_turn = asyncio.create_task(say(server))
        await gate.reached.wait()
        changes = await server.reload(always(replace(first, providers={"a": ProviderTable(label="new")})))
        assert changes.live == ("providers.a.label",)
        assert await say(server) == "new"
        assert not old.closed.is_set()
        gate.open()
        assert await running_turn == "old still"
        await asyncio.wait_for(old.closed.wait(), 5)
        assert not new.closed.is_set()
    assert new.closed.is_set()


async def test_a_provider_is_closed_only_when_no_turn_of_any_earlier_settings_uses_it(
    made: dict[str, Provider],
) -> None:
    """Also if it was kept by a reload in between."""
    gate = Gate()
    old = ClosingProvider(["old", gate, Finish()])
    made |= {"old": old, "other": ClosingProvider(), "new": ClosingProvider(["new", Finish()])}
    first = config(a=ProviderTable(label="old"))
    async with running(first) as server:
        running_turn = asyncio.create_task(say(server))
        await gate.reached.wait()
        second = replace(first, providers={**first.providers, "b": ProviderTable(label="other")})
        await server.reload(always(second))
        await server.reload(always(config(a=ProviderTable(label="new"))))
        assert await say(server) == "new"
        assert not old.closed.is_set()
        gate.open()
        assert await running_turn == "old"
        await asyncio.wait_for(old.closed.wait(), 5)


class OpenProvider(EchoProvider):
    """An echo that must not be used once it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Answer in several steps of the event loop."""
        async for event in super().generate(request):
            await asyncio.sleep(0)
            assert not self.closed.is_set()
            yield event

    async def close(self) -> None:
        """Note it."""
        self.closed.set()


async def test_a_provider_that_is_being_closed_when_the_server_stops_is_closed_to_its_end(
    made: dict[str, Provider],
) -> None:
    class Slow(ClosingProvider):
        begun, free = asyncio.Event(), asyncio.Event()

        async def close(self) -> None:
            self.begun.set()
            await self.free.wait()
            await super().close()

    slow = Slow()
    providers = ProviderSet({})
    tables = {"a": ProviderTable(label="slow")}
    made["slow"] = slow
    providers.use(tables, await providers.prepare(tables))
    former = Inventory(providers.providers, ModelSettings(), RoutingSettings())
    providers.use({}, {})
    providers.retire(former)
    await slow.begun.wait()
    stopping = asyncio.create_task(providers.close())
    await asyncio.sleep(0)  # it runs until it waits
    slow.free.set()
    await stopping
    assert slow.closed.is_set()


async def test_no_call_fails_while_providers_are_replaced_again_and_again(made: dict[str, Provider]) -> None:
    """Under callers that never pause; and each provider that was replaced is closed in the end."""
    providers = [OpenProvider() for _ in range(20)]
    made |= {str(number): provider for number, provider in enumerate(providers)}
    first = replace(config(a=ProviderTable(label="0")), models=ModelSettings(default="a/echo", default_embedding=""))
    stop = False

    async def call(client: MCPClient) -> int:
        answered = 0
        while not stop:
            assert (await client.chat("one two three")).text == "one two three"
            answered += 1
        return answered

    async with running(first) as server, MCPClient(server.address, retry=None) as client:
        callers = [asyncio.create_task(call(client)) for _ in range(8)]
        for number in range(1, len(providers)):
            await server.reload(always(replace(first, providers={"a": ProviderTable(label=str(number))})))
            await client.chat("one")
        stop = True
        assert all([await caller for caller in callers])
        for provider in providers[:-1]:
            await asyncio.wait_for(provider.closed.wait(), 5)
        assert not providers[-1].closed.is_set()


async def test_providers_that_have_not_changed_are_not_built_anew(made: dict[str, Provider]) -> None:
    """They keep their connections, their loaded models and their open circuit breakers."""
    failing = ClosingProvider(*[[ProviderUnavailable("away")]] * 2)
    made |= {"old": failing, "added": ClosingProvider(["added", Finish()])}
    first = replace(config(a=ProviderTable(label="old")), routing=RoutingSettings(max_attempts=1, circuit_failures=1))
    async with running(first) as server:
        for _ in range(2):
            with pytest.raises(ClientProviderUnavailable):
                await say(server)
        assert len(failing.requests) == 1
        made["old"] = ClosingProvider()
        added = {**first.providers, "b": ProviderTable(label="added")}
        await server.reload(always(replace(first, providers=added)))
        with pytest.raises(ClientProviderUnavailable):
            await say(server)
        assert len(failing.requests) == 1
        assert await say(server, model="b/scripted") == "added"


async def test_a_new_secret_builds_its_provider_anew(made: dict[str, Provider]) -> None:
    """And the log names the key, not the secret."""
    made["a"] = ClosingProvider(["one", Finish()])
    first = config(a=ProviderTable(label="a", key=Secret("secret-1")))
    async with running(first) as server:
        made["a"] = ClosingProvider(["two", Finish()])
        with capture_logs() as lines:
            await server.reload(always(config(a=ProviderTable(label="a", key=Secret("secret-2")))))
        assert await say(server) == "two"
    assert [line["changed"] for line in lines if line["event"] == "settings reloaded"] == [("providers.a.key",)]
    assert "secret-" not in str(lines)


async def test_names_of_models_change_at_once(made: dict[str, Provider]) -> None:
    """The default, aliases and providers that are gone."""
    made |= {"a": ClosingProvider(["a", Finish()]), "b": ClosingProvider(*[["b", Finish()]] * 2)}
    first = config(a=ProviderTable(label="a"))
    async with running(first) as server:
        assert await say(server) == "a"
        models = ModelSettings(default="b/scripted", default_embedding="", aliases={"fast": "b/scripted"})
        await server.reload(always(replace(config(b=ProviderTable(label="b")), models=models)))
        assert await say(server) == "b"
        assert await say(server, model="fast") == "b"
        with pytest.raises(ModelNotFound):
            await say(server, model="a/scripted")


async def test_limits_change_for_what_begins_later(made: dict[str, Provider]) -> None:
    """The time limit of turns, the number of turns, and the lifetime of sessions."""
    gate, never = Gate(), Gate()
    made["a"] = ClosingProvider(["a", gate, Finish()], [never])
    first = config(a=ProviderTable(label="a"))
    async with running(first) as server, MCPClient(server.address, retry=None) as client:
        running_turn = asyncio.create_task(say(server))
        await gate.reached.wait()
        changed = replace(
            first,
            turns=replace(first.turns, timeout=0.01),
            admission=replace(first.admission, max_turns=1, queue_timeout=0.0),
            sessions=replace(first.sessions, default_ttl=3600.0),
        )
        changes = await server.reload(always(changed))
        assert set(changes.live) == {
            "turns.timeout",
            "admission.max_turns",
            "admission.queue_timeout",
            "sessions.default_ttl",
        }
        with pytest.raises(Overloaded):
            await say(server)
        session = await client.create_session()
        assert session.expire_time is not None
        gate.open()
        assert await running_turn == "a"
        with pytest.raises(TurnTimeout):
            await say(server)


async def test_limits_of_tenants_change_for_what_begins_later(made: dict[str, Provider]) -> None:
    """Of requests a minute, for example."""
    made["a"] = ClosingProvider(*[["a", Finish()]] * 4)
    first = config(a=ProviderTable(label="a"))
    limited = replace(
        first,
        limits={"small": LimitSettings(requests_per_minute=1)},
        tenants={"*": TenantSettings(limits="small")},
    )
    async with running(first) as server:
        for _ in range(2):
            await say(server)
        assert (await server.reload(always(limited))).live == ("limits.small", 'tenants."*"')
        await say(server)
        with pytest.raises(QuotaExceeded):
            await say(server)


async def test_api_keys_of_the_settings_change_at_once() -> None:
    """A key that is gone is refused by the next call. Authentication itself begins and ends with a restart."""
    former, later = new_key(), new_key()
    async with running(config_with(former), providers={"echo": EchoProvider()}) as server:
        assert (await server.reload(always(config_with(later)))).live == (
            f"auth.keys.{former.id}",
            f"auth.keys.{later.id}",
        )
        async with MCPClient(server.address, metadata=dict(later.metadata)) as client:
            await client.chat("hello")
        async with MCPClient(server.address, metadata=dict(former.metadata)) as client:
            with pytest.raises(BadCredentials):
                await client.chat("hello")
    async with running(config_with(), providers={"echo": EchoProvider()}) as server:
        changes = await server.reload(always(config_with(later)))
        assert (changes.live, changes.fixed) == ((), (f"auth.keys.{later.id}",))
        assert await say(server)


async def test_settings_that_cannot_be_used_change_nothing(made: dict[str, Provider]) -> None:
    """Not readable, contradictory, or with a provider that cannot be built: all or nothing."""
    made |= {"a": ClosingProvider(*[["a", Finish()]] * 2), "new": ClosingProvider()}
    first = config(a=ProviderTable(label="a"))
    spoilt = config(a=ProviderTable(label="new"), b=ProviderTable(label="none"))
    async with running(first) as server:
        with capture_logs() as lines:
            with pytest.raises(ConfigError, match="unknown key"):
                await server.reload(failing("file: server.adress: unknown key"))
            with pytest.raises(ConfigError, match=r"providers\.b"):
                await server.reload(always(spoilt))
        assert [line["log_level"] for line in lines if line["event"] == "settings not reloaded"] == ["error"] * 2
        assert server.config == first
        assert await say(server) == "a"
        new = made["new"]
        assert isinstance(new, ClosingProvider)
        assert new.closed.is_set()


async def test_what_needs_a_restart_is_named_and_stays(made: dict[str, Provider]) -> None:
    """The address, the store and the like, at each reload; the rest of the file takes effect."""
    made["a"] = ClosingProvider(*[["a", Finish()]] * 2)
    first = config(a=ProviderTable(label="a"))
    wanted = replace(
        first,
        server=replace(first.server, address="127.0.0.1:1", drain_timeout=7.0, max_streams=7),
        metrics=MetricsSettings(address="127.0.0.1:2"),
        log=replace(first.log, format="json", level="error"),
    )
    async with running(first) as server:
        for live in (("server.drain_timeout", "log.level"), ()):
            with capture_logs() as lines:
                changes = await server.reload(always(wanted))
            assert changes.live == live
            assert changes.fixed == ("server.address", "server.max_streams", "metrics.address", "log.format")
            (warning,) = [line for line in lines if line["log_level"] == "warning"]
            assert warning["keys"] == changes.fixed
        assert server.config.server == replace(first.server, drain_timeout=7.0)
        assert await say(server) == "a"


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    """The authority that clients trust."""
    return Authority(tmp_path)


async def test_a_renewed_certificate_is_used_by_the_next_connection(
    ours: Authority, tmp_path: Path, made: dict[str, Provider]
) -> None:
    """A stream that runs goes on; new connections see the new certificate, here one of another authority."""
    gate = Gate()
    made["a"] = ClosingProvider(["one ", gate, "two", Finish()], ["new", Finish()])
    other = Authority(tmp_path, "other")
    first = replace(encrypted(ours.server()), providers={"a": ProviderTable(label="a")})
    first = replace(first, models=ModelSettings(default="a/scripted", default_embedding=""))
    async with running(first) as server:
        older = MCPClient(server.address, credentials=TLS(ca=ours.file), retry=None)
        async with older, older.stream_chat("hello") as stream:
            await gate.reached.wait()
            renewed = replace(first, server=replace(first.server, tls=other.server()))
            await server.reload(always(renewed))
            async with MCPClient(server.address, credentials=TLS(ca=other.file), retry=None) as newer:
                assert (await newer.chat("hello")).text == "new"
            gate.open()
            assert (await stream.reply()).text == "one two"
        async with MCPClient(server.address, credentials=TLS(ca=ours.file), retry=None) as client:
            with pytest.raises(ServerUnavailable):
                await client.chat("hello")


async def test_certificate_files_are_read_again_though_no_key_has_changed(ours: Authority, tmp_path: Path) -> None:
    """As certbot and cert-manager renew them: in place. Half of a renewal is refused, and the old one serves on."""
    tls = ours.server()
    assert tls.certificate is not None
    assert tls.key is not None
    first = encrypted(tls)
    other = Authority(tmp_path, "other").server()
    assert other.certificate is not None
    assert other.key is not None
    async with running(first, providers={"echo": ScriptedProvider()}) as server:
        assert (await server.reload(always(first))).live == ()
        tls.certificate.write_bytes(other.certificate.read_bytes())
        with pytest.raises(ConfigError, match=r"server\.tls\.key"):
            await server.reload(always(first))
        async with MCPClient(server.address, credentials=TLS(ca=ours.file)) as client:
            await client.wait_until_ready(5)
        tls.key.write_bytes(other.key.read_bytes())
        assert (await server.reload(always(first))).live == ("the files of server.tls and web.tls",)
        async with MCPClient(server.address, credentials=TLS(ca=tmp_path / "other-ca.pem")) as client:
            await client.wait_until_ready(5)


async def test_tls_begins_and_ends_with_a_restart(ours: Authority) -> None:
    """So does asking for client certificates."""
    plain = encrypted(TLSSettings())
    tls = ours.server()
    async with running(plain, providers={"echo": ScriptedProvider()}) as server:
        changes = await server.reload(always(encrypted(tls)))
        assert changes.fixed == ("server.tls.certificate", "server.tls.key")
        assert server.config.server.tls == TLSSettings()
    async with running(encrypted(tls), providers={"echo": ScriptedProvider()}) as server:
        changes = await server.reload(always(encrypted(replace(tls, client_ca=ours.file))))
        assert changes.fixed == ("server.tls.client_ca",)
        assert server.config.server.tls == tls


def test_a_folder_that_is_replaced_behind_a_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes replaces ConfigMaps. A file that is being written counts when it has come to rest."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.toml").write_text("same")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    watch = FileWatch([link / "settings.toml", tmp_path / "missing"])
    assert not watch.changed()
    link.unlink()
    link.symlink_to(tmp_path / "two")
    assert [watch.changed(), watch.changed()] == [False, True]
    watch.accept()
    assert not watch.changed()
    (tmp_path / "missing").write_text("half")
    assert not watch.changed()
    (tmp_path / "missing").write_text("whole now")
    assert [watch.changed(), watch.changed()] == [False, True]
    watch.accept()
    (tmp_path / "missing").unlink()
    assert [watch.changed(), watch.changed()] == [False, True]
