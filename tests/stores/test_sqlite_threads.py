"""The SQLite store between event loops and its own threads."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from mcp_server.errors import StoreUnavailable
from mcp_server.interfaces import Change, Stored
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores.values import append, put, session, texts, update


async def test_several_event_loops_share_a_store(tmp_path: Path) -> None:
    """Every caller is resumed on its own event loop, and all see one history."""
    store = SQLiteStore(tmp_path / "sessions.db")
    await store.open()
    await put(store, session())

    async def add(name: str) -> set[int]:
        threads = set()
        for n in range(30):
            await append(store, "s", f"{name} {n}")
            threads.add(threading.get_ident())
        assert f"{name} 29" in await texts(store, "uid-s")
        return threads

    async def add_many(name: str) -> list[set[int]]:
        return await asyncio.gather(*[add(f"{name}{n}") for n in range(8)])

    here, there = await asyncio.gather(add_many("a"), asyncio.to_thread(lambda: asyncio.run(add_many("b"))))
    assert len(set.union(*here)) == len(set.union(*there)) == 1
    assert len(set(await texts(store, "uid-s"))) == 480
    await store.close()


async def test_an_event_loop_that_is_closed_early_affects_no_other(tmp_path: Path) -> None:
    """A closed event loop does not affect the callers on others."""
    store = SQLiteStore(tmp_path / "sessions.db")
    await store.open()
    await put(store, session())
    entered, leave = threading.Event(), threading.Event()

    def slow(stored: Stored) -> Change:
        entered.set()
        leave.wait()
        return Change(session=stored.session)

    async def abandon() -> None:
        asyncio.ensure_future(store.change("t", "s", slow))  # noqa: RUF006  # it is to be left alone
        await asyncio.to_thread(entered.wait)

    await asyncio.to_thread(lambda: asyncio.run(abandon()))
    leave.set()
    await update(store, "s", etag="e1")
    found = await store.session("t", "s")
    assert found is not None
    assert found.etag == "e1"
    await store.close()


async def test_a_change_that_is_cancelled_while_it_waits_is_not_made(tmp_path: Path) -> None:
    """A change that is cancelled while it waits is skipped, and the next one is made."""
    store = SQLiteStore(tmp_path / "sessions.db")
    await store.open()
    await put(store, session())
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Stored) -> Change:
        entered.set()
        leave.wait()
        return Change()

    first = asyncio.create_task(store.change("t", "s", slow))
    await asyncio.to_thread(entered.wait)
    second = asyncio.create_task(append(store, "s", "second"))
    third = asyncio.create_task(append(store, "s", "third"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    leave.set()
    await asyncio.gather(first, third)
    assert second.cancelled()
    assert await texts(store, "uid-s") == ["third"]
    await store.close()


async def test_each_caller_gets_an_error_of_its_own(tmp_path: Path) -> None:
    """Callers add details to an error, which must not reach other callers."""
    path = tmp_path / "sessions.db"
    store = SQLiteStore(path)
    await store.open()
    path.rename(tmp_path / "elsewhere.db")
    errors = await asyncio.gather(*[put(store, session(f"s{n}")) for n in range(10)], return_exceptions=True)
    assert all(isinstance(error, StoreUnavailable) for error in errors)
    assert len({id(error) for error in errors}) == 10
    await store.close()


async def test_a_store_that_is_not_open_raises(tmp_path: Path) -> None:
    """Calls before the start raise, and closing does nothing."""
    store = SQLiteStore(tmp_path / "sessions.db")
    with pytest.raises(StoreUnavailable, match="closed"):
        await put(store, session())
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.session("t", "s")
    await store.close()
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  # nothing else runs in this event loop
