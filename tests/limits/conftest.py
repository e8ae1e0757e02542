"""A server with limits, and callers of several tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contextprotocol.v1 import chat_pb2, usage_pb2, usage_pb2_grpc
from mcp_server.accounts import limits_of
from mcp_server.interfaces import Call, Provider
from mcp_server.plugins import built_in
from mcp_server.principal import Principal
from mcp_server.settings import Config
from mcp_server.settings import testing_config as settings
from mcp_server.settings.tables import LimitSettings, ModelOverrides, ModelSettings, PriceSettings, TenantSettings
from mcp_server.values import NO_LIMITS, SECOND
from tests.conftest import Serve
from tests.wire import Wire, user

NOON = 1_800_014_400 * SECOND
"""A noon (UTC), on 2027-01-15."""


class ClockHand:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> int:
        return self.time

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.time += int(seconds * SECOND)


@pytest.fixture
def clock() -> ClockHand:
    """The clock of the server."""
    return ClockHand()


@pytest.fixture(params=["memory", "sqlite"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Settings whose only provider is ``p``, with a price; one after the other on every store."""
    price = PriceSettings(input=1.0, output=2.0)
    return msgspec.structs.replace(
        settings(default_model="p/scripted"),
        store=built_in("stores", request.param)(path=tmp_path / "sessions.db"),
        models=ModelSettings(default="p/scripted", settings={"*": ModelOverrides(price=price)}),
    )


Limited = Callable[..., Awaitable["Callers"]]


class Callers:
    """A server, and calls to it for a tenant and a key.

    Args:
        wire: the stubs.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.usage = usage_pb2_grpc.UsageServiceStub(wire.channel)

    async def chat(self, text: str = "abcd", *, tenant: str = "t", key: str = "", **fields: Any) -> Any:
        """One turn without a session, unless ``fields`` has one."""
        request = chat_pb2.ChatRequest(messages=[user(text)], **fields)
        return await self.wire.chat.Chat(request, metadata=caller(tenant, key))

    async def sums(self, *group_by: str, tenant: str = "t", **fields: Any) -> list[tuple[Any, ...]]:
        """The usage by group: the values of the group, turns, attempts, tokens of prompts and answers, and the cost."""
        request = usage_pb2.QueryUsageRequest(group_by=group_by, **fields)
        response = await self.usage.QueryUsage(request, metadata=caller(tenant))
        return [
            (
                *[row.group[name] for name in group_by],
                row.turns,
                row.attempts,
                row.usage.input_tokens,
                row.usage.output_tokens,
                row.cost_nanos,
            )
            for row in response.rows
        ]


def caller(tenant: str, key: str = "", scopes: str = "") -> tuple[tuple[str, str], ...]:
    """The metadata of a caller."""
    return (("x-tenant", tenant), ("x-key", key), ("x-scopes", scopes))


@pytest.fixture
async def limited(serve: Serve, config: Config, clock: ClockHand) -> Limited:
    """Starts a server whose callers say who they are: ``of_tenant`` binds the tenant ``t``, ``of_keys`` the keys."""

    async def start(
        provider: Provider, of_tenant: Mapping[str, Any], of_keys: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Callers:
        keys = {name: limits_of(LimitSettings(**limits)) for name, limits in (of_keys or {}).items()}

        @asynccontextmanager
        async def identify(call: Call) -> AsyncIterator[None]:
            key = call.metadata.get("x-key", "")
            scopes = call.metadata.get("x-scopes", "")
            call.principal = Principal(
                tenant=call.metadata.get("x-tenant", "default"),
                key=key,
                scopes=frozenset(scopes.split()),
                limits=keys.get(key, NO_LIMITS),
            )
            yield

        changed = msgspec.structs.replace(
            config, limits={"some": LimitSettings(**of_tenant)}, tenants={"t": TenantSettings(limits="some")}
        )
        return Callers(await serve(changed, providers={"p": provider}, middleware=[identify], clock=clock))

    return start
