"""Stores of sessions, messages and turns: one module or folder each."""

from typing import Final

BUILT_IN: Final = {
    "memory": "mcp_server.stores.memory_settings:MemorySettings",
    "sqlite": "mcp_server.stores.sqlite.settings:SQLiteSettings",
}
"""The settings table of each store, by the ``type`` that chooses it."""
