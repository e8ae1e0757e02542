"""Keeps everything in one SQLite file on this machine: the default. What was acknowledged survives a crash."""

from mcp_server.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
