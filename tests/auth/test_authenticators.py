"""Authenticators and services that are not the server's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2

from contextprotocol.v1 import key_pb2
from mcp_server.errors import BadCredentials, ConfigError
from mcp_server.interfaces import Call, GRPCService
from mcp_server.middleware.authentication import guard
from mcp_server.principal import Principal
from mcp_server.settings import read
from mcp_server.testing import EchoProvider, running
from tests.auth.keys import Metadata, bearer, config_with, invoke, new_key
from tests.conftest import Serve
from tests.packages import install
from tests.rpc.test_edge import EXTRA, Arithmetic
from tests.wire import Refused, Wire

WHO_AM_I = key_pb2.DESCRIPTOR.services_by_name["KeyService"].methods_by_name["WhoAmI"]
BADGE: Metadata = (("x-badge", "ada"),)


class Badges:
    """Authenticates by the metadata ``x-badge``, as somebody else's code would."""

    def __init__(self) -> None:
        self.asked = 0
        self.lost: set[str] = set()

    async def authenticate(self, call: Call, /) -> Principal | None:
        badge = call.metadata.get("x-badge")
        if badge is None:
            return None
        self.asked += 1
        if badge in self.lost:
            raise BadCredentials("the badge is not valid")
        return Principal(tenant=badge, scopes=frozenset({"chat"}), credential=f"badge:{badge}")


@pytest.fixture
def badges() -> Badges:
    return Badges()


@pytest.fixture
async def wire(serve: Serve, badges: Badges) -> Wire:
    """A server with badges and no setting."""
    return await serve(authenticators=[badges], providers={"echo": EchoProvider()})


async def who_am_i(wire: Wire, metadata: Metadata) -> Any:
    return await wire.keys.WhoAmI(key_pb2.WhoAmIRequest(), metadata=metadata)


async def test_an_authenticator_decides_who_calls(wire: Wire) -> None:
    """With one as an argument, callers need credentials."""
    who = await who_am_i(wire, BADGE)
    assert (who.tenant, list(who.scopes), who.key) == ("ada", ["chat"], "")
    with Refused() as refused:
        await who_am_i(wire, ())
    assert refused.code == grpc.StatusCode.UNAUTHENTICATED


async def test_credentials_of_two_authenticators_are_refused(serve: Serve, badges: Badges) -> None:
    """A badge and a key: nobody has to guess for whom the call is made."""
    key = new_key("red")
    wire = await serve(config_with(key), authenticators=[badges], providers={"echo": EchoProvider()})
    assert (await who_am_i(wire, key.metadata)).tenant == "red"
    assert (await who_am_i(wire, BADGE)).tenant == "ada"
    with Refused() as refused:
        await who_am_i(wire, (*key.metadata, *BADGE))
    assert (refused.code, refused.details) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "the call has two credentials: send one",
    )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_written_in_any_case(serve: Serve, scheme: str) -> None:
    """As HTTP has it."""
    key = new_key("red")
    wire = await serve(config_with(key), providers={"echo": EchoProvider()})
    assert (await who_am_i(wire, (("authorization", f"{scheme} {key.secret}"),))).tenant == "red"


async def test_streams_with_one_credential_are_authenticated_again_once_for_all(wire: Wire, badges: Badges) -> None:
    """And all of them end."""
    watches = [wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=BADGE) for _ in range(20)]
    for watch in watches:
        await watch.read()
    badges.asked = 0
    badges.lost.add("ada")
    for watch in watches:
        with Refused() as refused:
            await asyncio.wait_for(watch.read(), 5)
        assert refused.reason == "BAD_CREDENTIALS"
    assert badges.asked <= 2


async def test_an_authenticator_that_fails_refuses_calls_and_keeps_streams(wire: Wire, badges: Badges) -> None:
    """What cannot be checked is not let in; what was valid goes on until it is known not to be."""
    watch = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=BADGE)
    await watch.read()
    checked = asyncio.Event()

    async def fail(call: Call, /) -> Principal | None:
        checked.set()
        raise RuntimeError("the register of badges is gone")

    badges.authenticate = fail  # type: ignore[method-assign]  # it breaks while the server runs
    with Refused() as refused:
        await who_am_i(wire, BADGE)
    assert refused.code == grpc.StatusCode.INTERNAL
    for _ in range(2):  # a stream that has ended is not checked again
        checked.clear()
        await asyncio.wait_for(checked.wait(), 5)
    assert not watch.done()
    watch.cancel()


async def test_a_check_that_hangs_does_not_hold_up_the_others(
    serve: Serve, badges: Badges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams with another credential are looked at all the same."""
    monkeypatch.setattr(guard, "CHECK_TIMEOUT", 0.05)
    wire = await serve(authenticators=[badges], providers={"echo": EchoProvider()})
    ada, bob = [
        wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=(("x-badge", name),)) for name in ("ada", "bob")
    ]
    for watch in (ada, bob):
        await watch.read()
    authenticate = badges.authenticate

    async def hang(call: Call, /) -> Principal | None:
        if call.metadata.get("x-badge") == "ada":
            await asyncio.Event().wait()
        return await authenticate(call)

    badges.authenticate = hang  # type: ignore[method-assign]  # it breaks while the server runs
    badges.lost.add("bob")
    with Refused() as refused:
        await asyncio.wait_for(bob.read(), 5)
    assert refused.reason == "BAD_CREDENTIALS"
    assert not ada.done()
    ada.cancel()


async def test_middleware_inside_may_change_the_principal_of_a_stream(serve: Serve, badges: Badges) -> None:
    """It is authenticated again with what the caller sent."""

    @asynccontextmanager
    async def renaming(call: Call) -> AsyncIterator[None]:
        call.principal = msgspec.structs.replace(call.principal, credential="another", tenant="another")
        yield

    wire = await serve(authenticators=[badges], middleware=[renaming], providers={"echo": EchoProvider()})
    assert (await who_am_i(wire, BADGE)).tenant == "another"
    for metadata in (BADGE, ()):
        watch = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata)
        await watch.read()
        watch.cancel()
    watch = wire.health.Watch(health_pb2.HealthCheckRequest(), metadata=BADGE)
    await watch.read()
    badges.lost.add("ada")
    with Refused() as refused:
        await asyncio.wait_for(watch.read(), 5)
    assert refused.reason == "BAD_CREDENTIALS"


async def test_an_installed_authenticator_is_named_in_the_settings(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found by its entry point."""
    code = "from tests.auth.test_authenticators import Badges\nbadges = Badges()\n"
    install(
        tmp_path,
        "ourbadges",
        code,
        '[project.entry-points."contextprotocol.authenticators"]\nbadges = "ourbadges:badges"',
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "settings.toml"
    file.write_text(
        "[authenticators.badges]\n[store]\ntype = 'memory'\n"
        "[server]\naddress = '127.0.0.1:0'\n[metrics]\naddress = ''\n"
    )
    wire = await serve(read(file, {}).config)
    assert (await who_am_i(wire, BADGE)).tenant == "ada"
    with Refused():
        await who_am_i(wire, ())


@pytest.mark.parametrize(("scope", "code"), [("", "OK"), ("chat", "OK"), ("admin", "PERMISSION_DENIED")])
async def test_another_service_needs_credentials_and_the_scope_that_it_declares(
    serve: Serve, badges: Badges, scope: str, code: str
) -> None:
    """Before its request is decoded, as for the contract's own services."""
    service = GRPCService(descriptor=EXTRA, implementation=Arithmetic(), scope=scope)
    wire = await serve(authenticators=[badges], providers={"echo": EchoProvider()}, services=[service])
    double = EXTRA.methods_by_name["Double"]
    assert (await invoke(wire.channel, double, b"")).code == "UNAUTHENTICATED"
    assert (await invoke(wire.channel, double, b"", BADGE)).code == code


async def test_another_service_cannot_declare_a_scope_that_does_not_exist(badges: Badges) -> None:
    """Nobody could have it."""
    service = GRPCService(descriptor=EXTRA, implementation=Arithmetic(), scope="arithmetic")
    with pytest.raises(ConfigError, match="declares the scope 'arithmetic'; expected one of chat"):
        async with running(authenticators=[badges], providers={"echo": EchoProvider()}, services=[service]):
            pass


async def test_without_authentication_everybody_may_do_everything(serve: Serve) -> None:
    """As before; credentials are not looked at."""
    wire = await serve()
    for metadata in ((), bearer("anything")):
        who = await who_am_i(wire, metadata)
        assert (who.tenant, who.key, "operator" in who.scopes) == ("default", "", True)
