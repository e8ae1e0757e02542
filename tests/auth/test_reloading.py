"""API keys of the settings change without a restart."""

from __future__ import annotations

from typing import Any

import grpc
import msgspec

from contextprotocol.v1 import key_pb2, key_pb2_grpc
from mcp_server.settings import Config
from mcp_server.settings import testing_config as settings
from mcp_server.settings.tables import LimitSettings
from mcp_server.testing import running
from tests.auth.keys import NewKey, config_with, new_key
from tests.wire import Refused, Wire


async def who_am_i(wire: Wire, key: NewKey) -> key_pb2.WhoAmIResponse:
    """What the server knows of the caller with that key."""
    stub: Any = key_pb2_grpc.KeyServiceStub(wire.channel)
    response: key_pb2.WhoAmIResponse = await stub.WhoAmI(key_pb2.WhoAmIRequest(), metadata=key.metadata)
    return response


async def test_keys_are_replaced_at_once() -> None:
    """A new key works, one that is gone does not; the limits of a key are those of its profile now."""
    old, new = new_key(), new_key(limits="some")
    config = config_with(old)
    async with running(config) as server, grpc.aio.insecure_channel(server.address) as channel:
        wire = Wire(server, channel)
        await who_am_i(wire, old)
        with Refused() as refused:
            await who_am_i(wire, new)
        assert refused.reason == "BAD_CREDENTIALS"
        changed = msgspec.structs.replace(
            config_with(new), limits={"some": LimitSettings(requests_per_minute=7, sessions=3)}
        )
        changes = await server.reload(lambda: changed)
        assert set(changes.live) == {f"auth.keys.{old.id}", f"auth.keys.{new.id}", "limits.some"}
        response = await who_am_i(wire, new)
        found = [(state.subject, state.limit, state.allowed, state.used, state.remaining) for state in response.limits]
        assert found == [
            (f"keys/{new.id}", "requests_per_minute", 7, 0, 7),
            (f"keys/{new.id}", "sessions", 3, 0, 3),
        ]
        with Refused() as refused:
            await who_am_i(wire, old)
        assert refused.reason == "BAD_CREDENTIALS"


async def test_authentication_begins_with_a_restart() -> None:
    """Keys for a server that everybody may call are named as settings that need one."""
    key = new_key()

    def with_key() -> Config:
        return config_with(key)

    async with running(settings(default_model="echo/echo")) as server:
        changes = await server.reload(with_key)
        assert changes.fixed == (f"auth.keys.{key.id}",)
        assert not changes.config.auth.keys
