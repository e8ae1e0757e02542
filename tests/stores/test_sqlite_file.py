"""Which files the SQLite store opens, and why it refuses others."""

# ruff: noqa: ASYNC240  # nothing else runs in these event loops while they wait for the disk

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from mcp_server.errors import ConfigError, StoreUnavailable
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.stores.sqlite.schema import VERSION
from mcp_server.testing.contracts.stores.values import append, delete, listed, put, session, texts


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    """A store over that file, closed at the end."""
    store = SQLiteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def refused(path: Path) -> str:
    """The reason why a file is refused. The error names the file, which is unchanged."""
    before = path.read_bytes() if path.is_file() else None
    store = SQLiteStore(path)
    with pytest.raises(ConfigError) as raised:
        await store.open()
    await store.close()
    assert (path.read_bytes() if path.is_file() else None) == before
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    """The file of a closed store, with 200 sessions and a history of 50 long messages."""
    path = tmp_path / "sessions.db"
    async with opened(path) as store:
        await asyncio.gather(*[put(store, session(f"s{n}", create_time=n)) for n in range(200)])
        for _ in range(5):
            await append(store, "s7", *["x" * 5000] * 10)
    return path


# -- a file that is good ----------------------------------------------------------------------------------------------


async def test_what_was_stored_is_there_the_next_time(filled: Path) -> None:
    """A store that is opened again continues."""
    async with opened(filled) as store:
        assert await listed(store, limit=1000) == [f"s{n}" for n in range(200)]
        assert len(await texts(store, "uid-s7")) == 50
        await append(store, "s7", "more")
        assert (await texts(store, "uid-s7"))[-1] == "more"


async def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    """The first start needs no preparation, and other users cannot read the file."""
    path = tmp_path / "a b" / "100% ünï?#" / "sessions.db"
    async with opened(path) as store:
        await put(store, session())
    assert path.is_file()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_an_incomplete_file_is_replaced(tmp_path: Path) -> None:
    """An incomplete file that a crash left during creation is replaced."""
    path = tmp_path / "sessions.db"
    path.with_name("sessions.db.new").write_bytes(b"half")
    async with opened(path) as store:
        await put(store, session())
        assert await listed(store) == ["s"]


async def test_one_file_serves_stores_in_turn(tmp_path: Path) -> None:
    """Closing releases the lock at once, also after another process was refused."""
    path = tmp_path / "sessions.db"
    for n in range(3):
        async with opened(path) as store:
            await put(store, session(f"s{n}", create_time=n))
            assert "another process uses it" in await refused(path)
    async with opened(path) as store:
        assert await listed(store) == ["s0", "s1", "s2"]


async def test_a_link_leads_to_the_same_file(tmp_path: Path) -> None:
    """The lock holds for the file, not for its name."""
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "sessions.db")
    async with opened(tmp_path / "sessions.db"):
        store = SQLiteStore(link)
        with pytest.raises(ConfigError, match="another process uses it"):
            await store.open()
    async with opened(link):
        pass


async def test_a_copy_made_while_it_runs_can_be_opened(filled: Path, tmp_path: Path) -> None:
    """SQLite's online backup works while the server runs."""
    copy = tmp_path / "copy.db"
    async with opened(filled) as store:
        await append(store, "s7", "the last word")
        with closing(sqlite3.connect(filled)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    async with opened(copy) as store:
        assert (await texts(store, "uid-s7"))[-1] == "the last word"


# -- a file that is not -----------------------------------------------------------------------------------------------


def empty(path: Path) -> None:
    """An empty file."""
    path.write_bytes(b"")


def random_bytes(path: Path) -> None:
    """Random bytes."""
    path.write_bytes(os.urandom(8192))


def text(path: Path) -> None:
    """A text that is shorter than the header."""
    path.write_text("shopping: milk, eggs")


def cut_in_the_header(path: Path) -> None:
    """A part of the header."""
    os.truncate(path, 50)


def cut_in_half(path: Path) -> None:
    """The second half is missing."""
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    """Random bytes after the header."""
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(path.stat().st_size - 100))


def overwritten_in_the_middle(path: Path) -> None:
    """Random bytes in a few pages."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(16384))


@pytest.mark.parametrize(
    ("damage", "message_part"),
    [
        (empty, "it is empty"),
        (random_bytes, "it is not an SQLite file"),
        (text, "it is not an SQLite file"),
        (cut_in_the_header, "it is not an SQLite file"),
        (cut_in_half, "it is damaged"),
        (overwritten, "it is damaged"),
        (overwritten_in_the_middle, "it is damaged"),
    ],
)
async def test_a_damaged_file_is_refused(filled: Path, damage: Callable[[Path], None], message_part: str) -> None:
    """The error says what is wrong and what to do. No new file is created."""
    damage(filled)
    message = await refused(filled)
    assert message_part in message
    assert "restore it from a backup, or move it away" in message


async def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    """A valid SQLite file of another program is unchanged."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE sessions (key INTEGER PRIMARY KEY)")
        connection.commit()
    assert "of another program: set another path" in await refused(path)


async def test_the_file_of_a_later_release_is_refused(filled: Path) -> None:
    """It is not misread."""
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.commit()
    assert f"later release (schema version {VERSION + 1}; this release supports up to {VERSION})" in await refused(
        filled
    )


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    """The path must be that of a file."""
    path = tmp_path / "folder"
    path.mkdir()
    assert "it is a folder: set the path of a file" in await refused(path)
    assert list(tmp_path.iterdir()) == [path]


async def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    """The folder of the path is a file."""
    (tmp_path / "file").write_text("")
    assert "set another path" in await refused(tmp_path / "file" / "sessions.db")


async def test_a_missing_file_whose_log_is_there_is_refused(filled: Path, tmp_path: Path) -> None:
    """The log contains the last changes: no empty store is created."""
    log = Path(f"{filled}-wal")
    async with opened(filled) as store:
        await put(store, session("late"))
        saved = log.read_bytes()
        kept = shutil.copy(filled, tmp_path / "kept.db")
    filled.unlink()
    log.write_bytes(saved)
    assert f"it is missing, but its write-ahead log {log} exists" in await refused(filled)
    assert not filled.exists()
    shutil.copy(kept, filled)
    async with opened(filled) as store:
        assert await store.session("t", "late") is not None


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Make a path read-only: by its mode, and for the superuser by an attribute."""
    mode = path.stat().st_mode
    path.chmod(mode & ~0o222)
    attribute = os.geteuid() == 0
    if attribute and subprocess.run(["chattr", "+i", path], check=False, capture_output=True).returncode:
        path.chmod(mode)
        pytest.skip("needs an ordinary user, or a file system that knows the attribute i")
    try:
        yield
    finally:
        if attribute:
            subprocess.run(["chattr", "-i", path], check=True)
        path.chmod(mode)


async def test_a_file_that_may_only_be_read_is_refused(filled: Path) -> None:
    """At the start, not at the first write."""
    with immutable(filled):
        assert "give this user write permission there" in await refused(filled)
    assert {path.name for path in filled.parent.iterdir()} == {"sessions.db", "sessions.db.lock"}
    async with opened(filled) as store:
        assert await store.session("t", "s7") is not None


@pytest.mark.parametrize("exists", [True, False])
async def test_a_folder_that_may_only_be_read_is_refused(filled: Path, *, exists: bool) -> None:
    """With and without the file."""
    folder = filled.parent / "closed"
    folder.mkdir()
    if exists:
        shutil.copy(filled, folder / "sessions.db")
    with immutable(folder):
        assert "give this user write permission there" in await refused(folder / "sessions.db")


# -- a second process -------------------------------------------------------------------------------------------------

HOLDER = """
import asyncio, sys, pathlib
from mcp_server.stores.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(pathlib.Path(sys.argv[1]))
    await store.open()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_a_second_process_is_refused_until_the_first_is_gone(filled: Path) -> None:
    """The lock is released when its process is killed."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(filled), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    assert "another process uses it and holds" in await refused(filled)
    holder.kill()
    await holder.communicate()
    async with opened(filled) as store:
        await put(store, session("mine"))


# -- while it runs ----------------------------------------------------------------------------------------------------


async def test_no_write_to_a_deleted_file_is_acknowledged(filled: Path) -> None:
    """Writes to a deleted file would be lost: they are refused until the file is back."""
    async with opened(filled) as store:
        elsewhere = filled.with_name("elsewhere.db")
        filled.rename(elsewhere)
        with pytest.raises(StoreUnavailable, match="deleted, moved, replaced or cut"):
            await put(store, session("late"))
        filled.write_bytes(b"")
        with pytest.raises(StoreUnavailable, match="deleted, moved, replaced or cut"):
            await delete(store, "s1")
        elsewhere.replace(filled)
        await put(store, session("late"))
        assert await store.session("t", "s1") is not None
        assert await store.session("t", "late") is not None


@pytest.mark.parametrize("also", ["", "-shm"])
async def test_a_deleted_write_ahead_log_costs_nothing(filled: Path, also: str) -> None:
    """What was in it is saved, and the store goes on with a new one; also after a crash."""
    async with opened(filled) as store:
        for number in range(3):
            await put(store, session(f"late-{number}"))
            assert await store.session("t", f"late-{number}") is not None
            for suffix in {"-wal", also} - {""}:
                Path(f"{filled}{suffix}").unlink()
            await put(store, session(f"later-{number}"))
            await append(store, "s7", f"after {number}")
        assert (await texts(store, "uid-s7"))[-3:] == ["after 0", "after 1", "after 2"]
        crashed = copied(filled)
        expected = await listed(store, limit=1000)
    for path in (crashed, filled):
        async with opened(path) as store:
            assert await listed(store, limit=1000) == expected
            assert {"late-0", "later-2"} <= set(expected)


async def test_an_idle_store_saves_a_log_that_is_deleted(filled: Path) -> None:
    """It need not be written to first."""
    async with opened(filled) as store:
        await put(store, session("late"))
        log = Path(f"{filled}-wal")
        log.unlink()
        async with asyncio.timeout(10):
            while not log.exists():  # noqa: ASYNC110  # it looks once a second
                await asyncio.sleep(0.05)
        crashed = copied(filled)
    async with opened(crashed) as store:
        assert await store.session("t", "late") is not None


async def test_no_write_behind_a_log_that_was_cut_is_acknowledged(filled: Path) -> None:
    """Whatever follows what is missing would be lost at the next start. Another program may empty the log properly."""
    async with opened(filled) as store:
        await put(store, session("late"))
        with closing(sqlite3.connect(filled)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await put(store, session("later"))
        os.truncate(f"{filled}-wal", 0)
        with pytest.raises(StoreUnavailable):
            await put(store, session("too late"))
    async with opened(filled) as store:
        assert await store.session("t", "late") is not None
        assert await store.session("t", "too late") is None


@pytest.mark.parametrize("way", ["lock removed", "hard link"])
async def test_no_second_server_gets_in_by_another_way(filled: Path, way: str) -> None:
    """The file itself is locked too."""
    path = filled
    async with opened(filled):
        if way == "lock removed":
            Path(f"{filled}.lock").unlink()
        else:
            path = filled.with_name("link.db")
            path.hardlink_to(filled)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDER, str(path), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, error = await process.communicate()
        assert process.returncode != 0
        assert b"another process uses it" in error


def copied(path: Path) -> Path:
    """The files as a crash would leave them now."""
    crashed = path.with_name("crashed.db")
    for suffix in ("", "-wal"):
        # By another process: SQLite's locks end when any descriptor of the file is closed in this one.
        subprocess.run(["cp", f"{path}{suffix}", f"{crashed}{suffix}"], check=True)
    return crashed


async def test_damage_that_is_found_later_makes_only_its_readers_fail(filled: Path) -> None:
    """A damaged page makes only the calls fail that need it."""
    async with opened(filled) as store:
        await append(store, "s8", "fine")
        with closing(sqlite3.connect(filled)) as connection:
            connection.execute(
                "UPDATE messages SET body = x'00ff'  WHERE key = (SELECT key << 32 FROM sessions WHERE id = 's7')"
            )
            connection.commit()
        with pytest.raises(StoreUnavailable, match="damaged"):
            await texts(store, "uid-s7")
        assert await texts(store, "uid-s8") == ["fine"]
        await put(store, session("s9"))
