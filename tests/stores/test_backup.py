"""Backups of an SQLite file: consistent while it is written to, private, and never in the way of a running server."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from pathlib import Path

import grpc
import pytest

from mcp_server.errors import ConfigError
from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.backup import back_up, restore
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.stores.sqlite.store import SQLiteStore
from mcp_server.testing import EchoProvider, running
from tests.conftest import Serve
from tests.wire import Wire


def quiet(done: int, total: int) -> None:
    """Nobody looks."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of the store."""
    return tmp_path / "sessions.db"


@pytest.fixture
async def wire(serve: Serve, file: Path) -> Wire:
    """A server that uses it, with a session of two messages."""
    wire = await serve(store=SQLiteStore(file), providers={"echo": EchoProvider()})
    await wire.create()
    await wire.say("first")
    return wire


async def history(file: Path) -> list[tuple[str, str]]:
    """The messages that a server finds in a file."""
    config = settings(default_model="echo/echo")
    async with (
        running(config, store=SQLiteStore(file), providers={"echo": EchoProvider()}) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        return await Wire(server, channel).history()


async def test_a_backup_shows_one_moment_however_much_is_written_meanwhile(
    wire: Wire, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins, an answer is stored, it ends: the answer is not in it, and nothing is half there."""
    monkeypatch.setattr("mcp_server.stores.sqlite.backup.PAGES", 1)
    began, may_go_on = threading.Event(), threading.Event()
    reports: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        reports.append((done, total))
        began.set()
        may_go_on.wait()

    target = tmp_path / "backup.db"
    copying = asyncio.create_task(asyncio.to_thread(back_up, file, target, overwrite=False, progress=progress))
    await asyncio.to_thread(began.wait)
    await wire.say("second")
    may_go_on.set()
    await copying
    assert [text for _, text in await wire.history()] == ["first", "first", "second", "second"]
    assert [text for _, text in await history(target)] == ["first", "first"]
    assert reports[-1][0] == reports[-1][1]
    assert len(reports) > 3


async def test_a_backup_is_one_private_file(wire: Wire, file: Path, tmp_path: Path) -> None:
    """Only its owner reads it, and nothing lies beside it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    back_up(file, folder / "backup.db", overwrite=False, progress=quiet)
    assert [path.name for path in folder.iterdir()] == ["backup.db"]
    assert stat.S_IMODE((folder / "backup.db").stat().st_mode) == 0o600


async def test_a_restored_backup_serves(wire: Wire, file: Path, tmp_path: Path) -> None:
    """At another place, with the history as it was, and new turns after it."""
    backup, other = tmp_path / "backup.db", tmp_path / "other" / "sessions.db"
    back_up(file, backup, overwrite=False, progress=quiet)
    restore(backup, other, overwrite=False, progress=quiet)
    assert [text for _, text in await history(other)] == ["first", "first"]
    assert [text for _, text in await history(other)] == ["first", "first"]


async def test_a_file_that_is_there_is_replaced_only_when_asked(file: Path, tmp_path: Path, wire: Wire) -> None:
    """By a backup and by a restoration; a write-ahead log of the former file goes with it."""
    backup, other = tmp_path / "backup.db", tmp_path / "other.db"
    back_up(file, backup, overwrite=False, progress=quiet)
    before = backup.read_bytes()
    with pytest.raises(ConfigError, match=f"{backup} exists: .* --overwrite"):
        back_up(file, backup, overwrite=False, progress=quiet)
    assert backup.read_bytes() == before
    back_up(file, backup, overwrite=True, progress=quiet)
    other.write_text("something else")
    log = other.with_name(f"{other.name}-wal")
    log.write_text("its log")
    with pytest.raises(ConfigError, match=f"{other} exists: .* --overwrite"):
        restore(backup, other, overwrite=False, progress=quiet)
    assert other.read_text() == "something else"
    restore(backup, other, overwrite=True, progress=quiet)
    assert not log.exists()
    assert [text for _, text in await history(other)] == ["first", "first"]


async def test_a_store_in_use_is_not_replaced(wire: Wire, file: Path, tmp_path: Path) -> None:
    """Not even when asked; the server does not notice."""
    backup = tmp_path / "backup.db"
    back_up(file, backup, overwrite=False, progress=quiet)
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="another process uses it"):
            restore(backup, file, overwrite=overwrite, progress=quiet)
    await wire.say("second")
    assert len(await wire.history()) == 4


def foreign(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    return "the SQLite file of another program"


def text(file: Path) -> str:
    file.write_text("text" * 100)
    return "not an SQLite file"


def empty(file: Path) -> str:
    file.touch()
    return "it is empty"


def missing(file: Path) -> str:
    return "No such file"


@pytest.mark.parametrize("make", [foreign, text, empty, missing])
def test_what_is_no_store_is_neither_backed_up_nor_restored(make: object, tmp_path: Path) -> None:
    """With the reason, and without leaving a file behind."""
    assert callable(make)
    source, target = tmp_path / "source", tmp_path / "target"
    problem = make(source)
    for copy in (back_up, restore):
        with pytest.raises(ConfigError, match=f"{source} cannot be copied: .*{problem}"):
            copy(source, target, overwrite=False, progress=quiet)
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "target.lock"}


async def test_a_damaged_backup_is_not_restored(wire: Wire, file: Path, tmp_path: Path) -> None:
    """What is there stays."""
    for number in range(20):
        await wire.say(f"{number} " * 2000)
    backup, other = tmp_path / "backup.db", tmp_path / "other.db"
    back_up(file, backup, overwrite=False, progress=quiet)
    content = bytearray(backup.read_bytes())
    for page in range(2, len(content) // 4096, 2):
        content[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    backup.write_bytes(content)
    other.write_text("precious")
    with pytest.raises(ConfigError, match=r"damaged|malformed"):
        restore(backup, other, overwrite=True, progress=quiet)
    assert other.read_text() == "precious"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]  # noqa: PTH208


async def test_a_backup_of_a_later_release_is_not_restored(wire: Wire, file: Path, tmp_path: Path) -> None:
    """This release could not open it."""
    backup = tmp_path / "backup.db"
    back_up(file, backup, overwrite=False, progress=quiet)
    with sqlite3.connect(backup) as connection:
        connection.execute("PRAGMA user_version = 1000")
    connection.close()
    with pytest.raises(ConfigError, match="later release"):
        restore(backup, tmp_path / "other.db", overwrite=False, progress=quiet)


def test_a_folder_that_is_missing_is_an_error_of_the_target(tmp_path: Path, file: Path) -> None:
    """One line with its name."""
    asyncio.run(_make(file))
    with pytest.raises(ConfigError, match=f"{tmp_path}/none/backup.db: No such file"):
        back_up(file, tmp_path / "none" / "backup.db", overwrite=False, progress=quiet)


async def _make(file: Path) -> None:
    store = SQLiteSettings(path=file).build("sqlite")
    await store.open()
    await store.close()
