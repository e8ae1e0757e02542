"""The contract of stores, on every store of the project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_server.stores.memory import MemoryStore
from mcp_server.stores.shared_memory import SharedMemoryStore
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores import AccountStoreContract, SharedStoreContract


class TestMemoryStore(AccountStoreContract):
    """In memory."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[MemoryStore]:
        """An open, empty store."""
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()


class TestSharedMemoryStore(SharedStoreContract, AccountStoreContract):
    """In memory, shared by two servers."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[SharedMemoryStore]:
        """An open, empty store."""
        store = SharedMemoryStore()
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def another(self, store: SharedMemoryStore) -> SharedMemoryStore:
        """The same object: servers share it."""
        await store.open()
        return store


class TestSQLiteStore(AccountStoreContract):
    """In a file."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
        """An open, empty store."""
        store = SQLiteStore(tmp_path / "sessions.db")
        await store.open()
        yield store
        await store.close()
