"""Stores everything in one SQLite file on this machine: the default. Acknowledged changes survive a crash."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp_server.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]


def __getattr__(name: str) -> Any:
    """Import the store when it is used: settings are read without SQLite."""
    if name == "SQLiteStore":
        from mcp_server.stores.sqlite.store import SQLiteStore

        return SQLiteStore
    raise AttributeError(name)
