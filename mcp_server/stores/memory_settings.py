"""The settings of the store ``memory``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcp_server.plugin_settings import PluginSettings

if TYPE_CHECKING:
    from mcp_server.interfaces import Store


class MemorySettings(PluginSettings):
    """Keeps everything in the memory of the server: for tests and throw-away use."""

    path: Path | None = None
    """Not used. The key is accepted so that a configuration for ``sqlite`` runs in memory when ``type`` alone is
    overridden."""

    def build(self, name: str) -> Store:
        """Make the store."""
        from mcp_server.stores.memory import MemoryStore

        return MemoryStore()
