"""A whole server for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp_server.testing.providers import EchoProvider

if TYPE_CHECKING:
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.interfaces import Provider
    from mcp_server.settings import Config


@asynccontextmanager
async def running(
    config: Config | None = None, *, providers: Mapping[str, Provider] | None = None, **arguments: Any
) -> AsyncIterator[UnifiedMCPServer]:
    """Run a server on a free port of 127.0.0.1, and stop it at the end.

    Args:
        config: its settings; by default a memory store, no metrics port, and the first provider's model as the default
            model.
        providers: providers beside those of ``config``; by default one :class:`EchoProvider` named ``echo``.
        arguments: further arguments of :class:`~mcp_server.app.UnifiedMCPServer`, such as ``store`` and ``clock``.
    """
    from mcp_server.app import UnifiedMCPServer
    from mcp_server.settings import testing_config

    if providers is None and config is None:
        providers = {"echo": EchoProvider()}
    if config is None:
        assert providers
        name, provider = next(iter(providers.items()))
        models = await provider.models()
        config = testing_config(default_model=f"{name}/{models[0].name}" if models else "")
    server = UnifiedMCPServer(config, providers=providers or {}, **arguments)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=0)
