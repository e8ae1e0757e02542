"""Stores everything in one SQLite file on this machine: the default. Acknowledged changes survive a crash."""

from mcp_server.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
