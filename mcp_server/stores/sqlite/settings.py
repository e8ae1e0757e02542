"""The settings of the store ``sqlite``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs

from mcp_server.plugin_settings import PluginSettings

if TYPE_CHECKING:
    from mcp_server.interfaces import Store


def _default_path() -> Path:
    return platformdirs.user_data_path("contextprotocol", appauthor=False) / "sessions.db"


class SQLiteSettings(PluginSettings):
    """Keeps everything in one durable SQLite file on this machine."""

    path: Path = msgspec.field(default_factory=_default_path)
    """The SQLite file. Default: ``sessions.db`` in the folder ``contextprotocol`` of the user's data folder."""

    def build(self, name: str) -> Store:
        """Make the store."""
        from mcp_server.stores.sqlite.store import SQLiteStore

        return SQLiteStore(self.path)
