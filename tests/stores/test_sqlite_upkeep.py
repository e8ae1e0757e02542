"""The garbage collector and the caches of the SQLite store."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mcp_server.interfaces import NO_LOOK_UP, Change, LookUp, RequestKey
from mcp_server.stores.sqlite import SQLiteStore, schema, threads
from mcp_server.stores.sqlite.changes import Changes
from mcp_server.stores.sqlite.file import DatabaseFile
from mcp_server.stores.sqlite.garbage import GarbageCollector
from mcp_server.testing.contracts.stores.values import (
    NOW,
    append,
    delete,
    fork,
    look,
    put,
    put_receipt,
    put_turn,
    receipt,
    replace,
    rewind,
    session,
    texts,
    turn,
    update,
)
from mcp_server.values import ContextEntry, MCPSession, TurnState


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the test."""
    return tmp_path / "sessions.db"


def rows(path: Path, table: str) -> int:
    """The number of rows of a table, over another connection."""
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # a name of ours
        return count


ACCOUNTS = {"totals", "holds", "usage", "spent", "rates", "api_keys", "secrets"}
"""The tables that outlive sessions and turns, or are written by triggers."""


def left(path: Path) -> dict[str, int]:
    """The tables of sessions and turns that are not empty, with their number of rows."""
    return {table: count for table in schema.TABLES if table not in ACCOUNTS and (count := rows(path, table))}


async def collected(store: SQLiteStore, path: Path) -> bool:
    """Let the store collect its garbage, and return whether none is left."""
    for _ in range(100):
        await store.forget(0, 1)
        if not rows(path, "removed") and not rows(path, "rewound"):
            return True
    return False


async def test_a_large_session_is_deleted_step_by_step(path: Path) -> None:
    """Thousands of messages and turns cannot be read at once, and are deleted from the file step by step."""
    store = SQLiteStore(path)
    await store.open()
    for name in ("big", "small"):
        await put(store, session(name, labels={"a": "b"}))
    await append(store, "big", *["x" * 200] * 3000, "y" * 3_000_000, *["x"] * 100)
    await append(store, "small", "z")
    await asyncio.gather(
        *[put_turn(store, turn(f"turn{n}", session="big", session_uid="uid-big"), b"piece") for n in range(1200)]
    )
    await delete(store, "big")
    assert await texts(store, "uid-big") == []
    assert await store.turn("t", "turn7") is None
    assert list(await store.interrupted("somebody", 10)) == []
    assert await collected(store, path)
    assert left(path) == {"sessions": 1, "contents": 1, "labels": 1, "messages": 1}
    assert await texts(store, "uid-small") == ["z"]
    await store.close()


async def test_garbage_is_collected_after_a_restart(path: Path) -> None:
    """A restart leaks nothing, and a new session never sees messages of a deleted one."""
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
    assert await collected(store, path)
    assert rows(path, "messages") == 0
    await store.close()


async def test_the_file_shrinks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a large part of it is free."""
    monkeypatch.setattr("mcp_server.stores.sqlite.garbage._KEPT_PAGES", 16)
    store = SQLiteStore(path)
    await store.open()
    await put(store, session("kept"))
    for n in range(20):
        await put(store, session(f"s{n}"))
        await append(store, f"s{n}", *["x" * 5000] * 40)
    for n in range(20):
        await delete(store, f"s{n}")
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("PRAGMA page_count").fetchone()[0]
        async with asyncio.timeout(10):
            while connection.execute("PRAGMA page_count").fetchone()[0] > before / 10:  # noqa: ASYNC110  # another thread
                await asyncio.sleep(0.01)
    await store.close()


async def test_an_error_of_the_collector_is_logged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No caller would get it. Changes are made all the same."""
    logged: list[str] = []

    def fail(_: GarbageCollector) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(GarbageCollector, "step", fail)
    monkeypatch.setattr(threads.log, "error", lambda event, **_: logged.append(event))
    store = SQLiteStore(path)
    await store.open()
    while not logged:  # noqa: ASYNC110  # it runs on a thread of the store
        await asyncio.sleep(0.01)
    assert logged == ["store cannot collect garbage"]
    await put(store, session())
    assert await store.session("t", "s") == session()
    await store.close()


async def test_the_store_sees_what_another_program_changed(path: Path) -> None:
    """The caches do not overwrite the change of another program."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await append(store, "s", "a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE sessions SET etag = 'by hand'")
        connection.commit()
    changed = await update(store, "s", claim="turn")
    assert changed.change.session is not None
    assert changed.change.session.etag == "by hand"
    await store.close()


async def test_sessions_that_do_not_fit_the_cache_are_right(path: Path) -> None:
    """Sessions that evict each other from the cache are read correctly."""
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


def test_a_session_that_is_updated_again_and_again_evicts_no_other(path: Path) -> None:
    """The cache counts what a session holds now, not what it has held before."""
    file = DatabaseFile(path)
    with closing(file.open()) as connection:
        changes = Changes(connection)

        def write(new: MCPSession) -> None:
            changes.begin()
            changes.change("t", new.id, lambda _: Change(session=new), NO_LOOK_UP)
            changes.commit()

        write(session("other"))
        for n in range(20):
            context = {"note": ContextEntry(type="text", kind="text", text=f"{n}" * 450_000)}
            write(session(context=context, system_instruction=f"{n}" * 450_000))
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        write(session("other", etag="e1"))
        assert [statement for statement in statements if statement.startswith("SELECT")] == []
    file.close()


async def test_expired_turns_and_sessions_leave_nothing(path: Path) -> None:
    """No row is left after everything was deleted and forgotten."""
    store = SQLiteStore(path)
    await store.open()
    for n in range(20):
        await put(store, session(f"s{n}", labels={"a": "b"}, expire_time=NOW))
        running = turn(f"turn{n}", session=f"s{n}", session_uid=f"uid-s{n}", request_id="r")
        await append(store, f"s{n}", "a", turn=running)
        await put_turn(store, running, b"piece")
        await put_turn(store, turn(f"alone{n}", state=TurnState.FAILED, end_time=NOW), b"piece")
        await put_receipt(store, receipt(session=f"s{n}", session_uid=f"uid-s{n}", scope=f"uid-s{n}"))
    assert set(left(path)) == {*schema.TABLES} - ACCOUNTS - {"segments", "removed", "rewound"}
    assert await store.forget(NOW + 1, 100) == 40
    for tenant, name in await store.expired(NOW, 100):
        await delete(store, name, tenant)
    assert await collected(store, path)
    assert left(path) == {}
    assert rows(path, "totals") == 0
    await store.close()


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
async def test_shared_messages_stay_as_long_as_a_fork_needs_them(
    path: Path, order: Sequence[str], *, restarted: bool
) -> None:
    """Forks copy no messages. A deleted session keeps those that others share, until these are deleted. Its key is not
    reused until then, also after a restart."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session("a"))
    await append(store, "a", *["a"] * 900)
    await fork(store, "a", "b", 700, *["b"] * 300)
    await fork(store, "b", "c", 800, "c")
    assert rows(path, "messages") == 1201
    # What is left of the rows of each: all, what b or c share of a, what c shares of b, nothing.
    needed = {"a": {"a": 900, "b": 700, "c": 700}, "b": {"b": 300, "c": 100}, "c": {"c": 1}}
    alive = set("abc")
    for number, name in enumerate(order):
        await delete(store, name)
        alive.discard(name)
        assert await collected(store, path)
        if restarted:
            await store.close()
            store = SQLiteStore(path)
            await store.open()
        new = f"new{number}"
        await put(store, session(new))
        await append(store, new, "x")
        assert await texts(store, f"uid-{new}") == ["x"]
        expected = sum(
            max([count for by, count in needs.items() if by in alive], default=0) for needs in needed.values()
        )
        assert rows(path, "messages") == expected + number + 1
        if "c" in alive:
            assert await texts(store, "uid-c") == [*["a"] * 700, *["b"] * 100, "c"]
    for number in range(3):
        await delete(store, f"new{number}")
    assert await collected(store, path)
    assert left(path) == {}
    await store.close()


async def test_many_forks_of_forks_leave_nothing(path: Path) -> None:
    """In any order of forks, rewinds and deletions, and after restarts."""
    seed = random.randrange(2**32)  # noqa: S311  # no secret
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    choice = random.Random(seed)  # noqa: S311  # no secret
    store = SQLiteStore(path)
    await store.open()
    histories = {"s0": [f"0.{n}" for n in range(30)]}
    await put(store, session("s0"))
    await append(store, "s0", *histories["s0"])
    for number in range(1, 120):
        parent, new = choice.choice(list(histories)), f"s{number}"
        count = choice.randint(1, len(histories[parent]))
        own = [f"{number}.{n}" for n in range(choice.randrange(4))]
        await fork(store, parent, new, count, *own)
        histories[new] = [*histories[parent][:count], *own]
        if choice.random() < 0.3:
            shorter = choice.choice(list(histories))
            kept = choice.randint(1, len(histories[shorter]))
            await rewind(store, shorter, kept)
            await append(store, shorter, "new")
            histories[shorter] = [*histories[shorter][:kept], "new"]
        if choice.random() < 0.1:
            await store.close()
            store = SQLiteStore(path)
            await store.open()
        if choice.random() < 0.5 and len(histories) > 1:
            gone = choice.choice(list(histories))
            await delete(store, gone)
            del histories[gone]
    assert await collected(store, path)
    for name, history in histories.items():
        assert await texts(store, f"uid-{name}") == history
    for name in choice.sample(list(histories), len(histories)):
        await delete(store, name)
    assert await collected(store, path)
    assert left(path) == {}
    await store.close()


async def test_a_large_rewind_is_quick(path: Path) -> None:
    """The rows of the removed messages are deleted step by step; the session goes on at once."""
    store = SQLiteStore(path)
    await store.open()
    await put(store, session("a"))
    await append(store, "a", *["a"] * 3000)
    await put_turn(store, turn(session="a", session_uid="uid-a"), b"piece")
    await rewind(store, "a", 10)
    assert rows(path, "messages") > 2000
    await append(store, "a", "b", "c")
    assert await collected(store, path)
    assert rows(path, "messages") == 12
    assert await texts(store, "uid-a") == [*["a"] * 10, "b", "c"]
    assert len(await store.turns("t", "uid-a", 9, "")) == 1
    await store.close()


async def test_turns_are_found_again_after_a_restart(path: Path) -> None:
    """By their request_ids, which stay taken. Their logs continue."""
    for number in range(3):
        store = SQLiteStore(path)
        await store.open()
        if not number:
            await put(store, session())
        for name, fields in (("in", {"session": "s", "session_uid": "uid-s"}), ("out", {})):
            written = turn(name, request_id="r", sequence_limit=number, **fields)
            await put_turn(store, written, b"%d" % number)
            await put_turn(store, written, b"more")
            key = RequestKey(service="chat", request_id="r", in_session=name == "in")
            assert (await look(store, written.session, LookUp(request=key))).turn == written
            pieces = [piece for n in range(number + 1) for piece in (b"%d" % n, b"more")]
            assert list(await store.events("t", name)) == pieces
            with pytest.raises(ValueError, match="taken"):
                await put_turn(store, replace(written, id="another"))
        await store.close()
