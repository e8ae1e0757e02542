"""Channelz lists the connections of the server, to those who may see them."""

from __future__ import annotations

import builtins
from typing import Any

import grpc
import msgspec
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from mcp_server.errors import ConfigError
from mcp_server.middleware.authentication import failures
from mcp_server.settings import Config, WebSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider, running
from mcp_server.values import SCOPES
from mcp_server.values.key_secret import new_key_id, new_secret
from tests.auth.keys import bearer, config_with, invoke, new_key
from tests.conftest import Serve
from tests.web.connect.client import Client, WebChannel

replace = msgspec.structs.replace

SERVICE = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]


def with_channelz(config: Config | None = None, **changes: Any) -> Config:
    """Settings with the service."""
    config = config or settings(default_model="echo/echo")
    return replace(config, server=replace(config.server, channelz=True, **changes))


async def sockets(channel: grpc.aio.Channel, server: str) -> list[channelz_pb2.Socket]:
    """The connections to a server, which is found by its port."""
    stub: Any = channelz_pb2_grpc.ChannelzStub(channel)
    found = await stub.GetServers(channelz_pb2.GetServersRequest())
    refs = []
    for each in found.server:
        listed = await stub.GetServerSockets(channelz_pb2.GetServerSocketsRequest(server_id=each.ref.server_id))
        refs += listed.socket_ref
    details = [await stub.GetSocket(channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)) for ref in refs]
    port = int(server.rpartition(":")[2])
    return [each.socket for each in details if each.socket.local.tcpip_address.port == port]


async def test_it_lists_the_connections_of_the_server(serve: Serve) -> None:
    """One for each client, with the number of its calls."""
    wire = await serve(with_channelz())
    await wire.create()
    (first,) = await sockets(wire.channel, wire.server.address)
    assert first.data.streams_started > 2
    async with grpc.aio.insecure_channel(wire.server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as other:
        await other.channel_ready()
        both = await sockets(wire.channel, wire.server.address)
    assert len({socket.remote.tcpip_address.port for socket in both}) == 2


async def test_what_does_not_exist_is_not_found(serve: Serve) -> None:
    """As the service itself says."""
    wire = await serve(with_channelz())
    stub: Any = channelz_pb2_grpc.ChannelzStub(wire.channel)
    for ask, request in (
        (stub.GetServer, channelz_pb2.GetServerRequest(server_id=2**40)),
        (stub.GetSocket, channelz_pb2.GetSocketRequest(socket_id=2**40)),
        (stub.GetChannel, channelz_pb2.GetChannelRequest(channel_id=2**40)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await ask(request)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_it_is_not_served_unless_the_settings_say_so(serve: Serve) -> None:
    """Nor over HTTP, even then."""
    wire = await serve()
    method = SERVICE.methods_by_name["GetServers"]
    assert (await invoke(wire.channel, method, b"", ())).code == "UNIMPLEMENTED"
    wire = await serve(replace(with_channelz(), web=WebSettings(address="127.0.0.1:0")))
    async with Client(wire.server.web_address) as client:
        assert (await invoke(WebChannel(client, "connect"), method, b"", ())).code == "UNIMPLEMENTED"


async def test_every_method_needs_the_scope_operator(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists the connections of all tenants: no other scope will do."""
    monkeypatch.setattr(failures, "MAX_DELAY", 0.0)
    keys = {scope: new_key("red", [scope]) for scope in SCOPES}
    operator, expired = keys["operator"], new_key("red", expires=-1)
    strangers = (
        (),
        bearer("ctx_x"),
        bearer(new_secret(new_key_id())),
        bearer(new_secret(operator.id)),
        expired.metadata,
        (*operator.metadata, *operator.metadata),
    )
    wire = await serve(with_channelz(config_with(*keys.values(), expired)), providers={"echo": EchoProvider()})
    for method in SERVICE.methods:
        for metadata in strangers:
            assert (await invoke(wire.channel, method, b"\xff", metadata)).code == "UNAUTHENTICATED"
        for scope, key in keys.items():
            outcome = await invoke(wire.channel, method, b"\xff", key.metadata)
            assert (outcome.code == "PERMISSION_DENIED") == (scope != "operator"), (method.name, scope)


async def test_without_authentication_it_stays_on_this_machine() -> None:
    """Whatever ``server.insecure`` says."""
    for address in ("0.0.0.0:0", "[::]:0", "server.test:0"):
        with pytest.raises(ConfigError, match=r"^server\.channelz: .*without authentication"):
            async with running(with_channelz(address=address, insecure=True), providers={"echo": EchoProvider()}):
                pass


async def test_a_missing_library_stops_the_start_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And with the setting."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("grpc_channelz"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"^server\.channelz: .* pip install 'contextprotocol\[admin\]'"):
        async with running(with_channelz(), providers={"echo": EchoProvider()}):
            pass
