"""How the SQLite store keeps its file in order: what is removed, what other programs change, what older files lack."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mcp_server.errors import ConfigError
from mcp_server.interfaces import Change
from mcp_server.messages import ContextEntry
from mcp_server.stores.sqlite import SQLiteStore, file, schema
from tests.contracts.stores.values import NOW, append, delete, put, put_turn, session, texts, turn, update


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of the test is."""
    return tmp_path / "sessions.db"


def rows(path: Path, table: str) -> int:
    """How many rows a table has, seen from outside."""
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # a name of ours
        return count


async def swept(store: SQLiteStore, path: Path) -> bool:
    """Let the store do its upkeep, in as many pieces as it takes, and say whether all that was removed is gone."""
    for _ in range(100):
        await store.forget(0, 1)
        if not rows(path, "removed"):
            return True
    return False


async def test_what_a_large_session_held_goes_in_pieces(path: Path) -> None:
    """Thousands of messages and turns vanish at once for every reader, and from the file by and by."""
    store = SQLiteStore(path)
    await store.open()
    for name in ("big", "small"):
        await put(store, session(name, labels={"a": "b"}))
    await append(store, "big", *["x" * 200] * 3000, "y" * 3_000_000, *["x"] * 100)
    await append(store, "small", "z")
    await asyncio.gather(
        *[put_turn(store, turn(f"turn{n}", session="big", session_uid="uid-big")) for n in range(1200)]
    )
    await delete(store, "big")
    assert await texts(store, "uid-big") == []
    assert await store.turn("t", "turn7") is None
    assert list(await store.interrupted("somebody", 10)) == []
    assert await swept(store, path)
    assert (rows(path, "messages"), rows(path, "turns"), rows(path, "labels"), rows(path, "contents")) == (1, 0, 1, 1)
    assert await texts(store, "uid-small") == ["z"]
    await store.close()


async def test_what_was_left_to_clear_away_is_cleared_after_a_restart(path: Path) -> None:
    """A stop in between leaks nothing, and a new session never sees what is left of an old one."""
    for round_ in range(3):
        store = SQLiteStore(path)
        await store.open()
        await put(store, session("s", uid=f"uid-{round_}"))
        assert await texts(store, f"uid-{round_}") == []
        await append(store, "s", *["x"] * 4000)
        await delete(store, "s")
        await store.close()
    store = SQLiteStore(path)
    await store.open()
    assert await swept(store, path)
    assert rows(path, "messages") == 0
    await store.close()


async def test_the_store_sees_what_another_program_changed(path: Path) -> None:
    """A correction by hand, while the server runs, is not overwritten by what was remembered."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await append(store, "s", "a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET etag = 'by hand'")
        connection.commit()
    changed = await update(store, "s", fence=2)
    assert changed.change.session is not None
    assert changed.change.session.etag == "by hand"
    await store.close()


async def test_a_session_larger_than_what_is_remembered_is_right(path: Path) -> None:
    """Many sessions with large contexts push each other out, and each is still read as it is."""
    store = SQLiteStore(path)
    await store.open()
    context = {"note": ContextEntry(type="text", kind="text", text="x" * 900_000)}
    for n in range(12):
        await put(store, session(f"s{n}", context=context))
    for n in [*range(12), *range(12)]:
        await append(store, f"s{n}", f"{n}")
        changed = await store.change("t", f"s{n}", lambda stored: Change(session=stored.session, read_last=5))
        assert {message.text for message in changed.messages} == {f"{n}"}
        assert changed.change.session is not None
        assert changed.change.session.context == context
    await store.close()


async def test_a_file_of_an_earlier_version_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step that it lacks runs once, and what it held is kept."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await store.close()
    monkeypatch.setattr(file, "STEPS", (*schema.STEPS, "CREATE TABLE extra (key INTEGER PRIMARY KEY);"))
    monkeypatch.setattr(file, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        store = SQLiteStore(path)
        await store.open()
        assert await store.session("t", "s") == session()
        assert rows(path, "extra") == 0
        await store.close()


async def test_an_update_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps or none: the release that made the file can still use it."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await store.close()
    with monkeypatch.context() as patch:
        patch.setattr(file, "STEPS", (*schema.STEPS, "CREATE TABLE extra (key INTEGER PRIMARY KEY); SELECT nonsense;"))
        patch.setattr(file, "VERSION", schema.VERSION + 1)
        with pytest.raises(ConfigError, match="nonsense"):
            await SQLiteStore(path).open()
    store = SQLiteStore(path)
    await store.open()
    assert await store.session("t", "s") == session()
    await store.close()


async def test_expired_turns_and_sessions_leave_nothing(path: Path) -> None:
    """After everything was deleted and forgotten, no row is left."""
    store = SQLiteStore(path)
    await store.open()
    for n in range(20):
        await put(store, session(f"s{n}", labels={"a": "b"}, expire_time=NOW))
        await append(store, f"s{n}", "a", turn=turn(f"turn{n}", session=f"s{n}", session_uid=f"uid-s{n}"))
    for tenant, name in await store.expired(NOW, 100):
        await delete(store, name, tenant)
    assert await swept(store, path)
    tables = ("sessions", "contents", "labels", "messages", "turns", "removed")
    assert [rows(path, table) for table in tables] == [0] * len(tables)
    await store.close()
