"""Gateways without an edge."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from msgspec.structs import replace

from mcp_server.accounts import Accounts
from mcp_server.gateway import Gateway
from mcp_server.interfaces import Provider, Store
from mcp_server.keys import KeyManager
from mcp_server.models.inventory import Inventory
from mcp_server.sessions.context_types import BUILT_IN
from mcp_server.sessions.hub import SessionHub
from mcp_server.sessions.manager import MCPSessionManager
from mcp_server.sessions.ownership import Ownership
from mcp_server.settings import testing_config as settings
from mcp_server.settings.tables import RouteSettings
from mcp_server.stores.memory import MemoryStore
from mcp_server.testing import EchoProvider
from mcp_server.turns.registry import TurnRegistry
from mcp_server.values import Clock


@asynccontextmanager
async def echo_gateway() -> AsyncIterator[Gateway]:
    """One provider, ``echo``, and a store in memory."""
    async with gateway_of({"echo": EchoProvider()}, "echo/echo", MemoryStore()) as gateway:
        yield gateway


@asynccontextmanager
async def gateway_of(
    providers: Mapping[str, Provider],
    default_model: str,
    store: Store,
    *,
    max_messages: int = 200,
    routes: Mapping[str, Sequence[str]] = MappingProxyType({}),
    clock: Clock = time.time_ns,
) -> AsyncIterator[Gateway]:
    """Any providers and any store, which is opened here."""
    config = settings(default_model=default_model)
    models = replace(
        config.models, routes={name: RouteSettings(targets=tuple(targets)) for name, targets in routes.items()}
    )
    await store.open()
    ownership = Ownership(uuid.uuid4().hex, clock, lease_seconds=None)
    hub = SessionHub()
    sessions = MCPSessionManager(store, ownership, config.sessions, hub=hub)
    context_types = BUILT_IN
    turns = TurnRegistry(
        store, ownership, config.turns, max_messages=max_messages, context_types=context_types, hub=hub
    )
    await turns.recover()
    yield Gateway(
        sessions=sessions,
        turns=turns,
        inventory=Inventory(providers, models, config.routing),
        context_types=context_types,
        clock=clock,
        models=models,
        turn_settings=config.turns,
        keys=KeyManager(store=None, settings_keys=dict, clock=time.time_ns, changed=lambda _: None),
        accounts=Accounts(store, config, clock),
    )
    await turns.drain(0)
    await store.close()
