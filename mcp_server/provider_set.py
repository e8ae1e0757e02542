"""The providers of a running server: built from their tables, replaced when these change, and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from mcp_server.interfaces import Provider
from mcp_server.models.inventory import Inventory
from mcp_server.plugin_settings import ProviderSettings
from mcp_server.plugins import build

log = structlog.get_logger("contextprotocol.server")

CLOSE_SECONDS: Final = 10.0
"""How long a provider may take to close."""


class ProviderSet:
    """The providers by their names.

    Args:
        added: providers that were handed in. They take the place of configured ones of their names, and are never
            replaced.
    """

    def __init__(self, added: Mapping[str, Provider]) -> None:
        self.providers: Mapping[str, Provider] = {}
        """Those in use, by name."""
        self._added = added
        self._tables: Mapping[str, ProviderSettings] = {}
        self._open: dict[int, tuple[str, Provider]] = {}
        self._former: list[Inventory] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def prepare(self, tables: Mapping[str, ProviderSettings]) -> Mapping[str, Provider]:
        """The providers for these tables: those in use whose tables have not changed, and new ones. They are not in use
        before :meth:`use`.

        Raises:
            ConfigError: one cannot be built; the new ones are closed again.
        """
        prepared: dict[str, Provider] = {}
        built: list[tuple[str, Provider]] = []
        try:
            for name in {**tables, **self._added}:
                if name in self._added:
                    prepared[name] = self._added[name]
                elif name in self.providers and self._tables.get(name) == tables[name]:
                    prepared[name] = self.providers[name]
                else:
                    prepared[name] = build(tables[name], name, f"providers.{name}")
                    built.append((name, prepared[name]))
        except BaseException:
            for name, provider in built:
                await close_provider(name, provider)
            raise
        return prepared

    def use(self, tables: Mapping[str, ProviderSettings], prepared: Mapping[str, Provider]) -> None:
        """Use what :meth:`prepare` has returned for these tables."""
        self.providers, self._tables = prepared, tables
        self._open |= {id(provider): (name, provider) for name, provider in prepared.items()}

    def retire(self, former: Inventory) -> None:
        """Close the providers that are not in use any more, as soon as nothing uses ``former`` or older ones."""
        kept = {id(provider) for provider in self.providers.values()}
        replaced = [key for key in self._open if key not in kept]
        self._former = [*[inventory for inventory in self._former if inventory.users], former]
        if replaced:
            task = asyncio.create_task(self._close_unused(replaced, tuple(self._former)), name="close providers")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_unused(self, keys: Iterable[int], former: Iterable[Inventory]) -> None:
        for inventory in former:
            await inventory.unused()
        for key in keys:
            if key in self._open:
                name, provider = self._open.pop(key)
                await close_provider(name, provider)
                log.info("provider closed", provider=name)

    async def close(self) -> None:
        """Close all of them, newest first. For when nothing uses them any more."""
        if self._closing:
            # Those that were replaced close already: none is stopped halfway.
            await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)
        for task in (*self._closing,):
            task.cancel()
        while self._open:
            _, (name, provider) = self._open.popitem()
            await close_provider(name, provider)


async def close_provider(name: str, provider: Provider) -> None:
    """Close a provider. One that raises, or takes too long, does not keep the server from stopping."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await provider.close()
    except Exception as error:
        log.error("provider not closed", provider=name, exc_info=error)
