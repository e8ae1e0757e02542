"""The SQLite store on a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mcp_server.errors import ConfigError, StoreUnavailable
from mcp_server.interfaces import Change, Store
from mcp_server.stores.sqlite import SQLiteStore
from mcp_server.testing.contracts.stores.accounts import hold, write
from mcp_server.testing.contracts.stores.values import append, listed, put, session, texts

LARGE = "x" * 3_000_000


Full = Callable[[int], AbstractContextManager[None]]
"""A context in which the disk has room for about that many more bytes."""


@contextlib.contextmanager
def limited(folder: Path) -> Iterator[Full]:
    """Limit the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextlib.contextmanager
    def full(room: int) -> Iterator[None]:
        size = max(path.stat().st_size for path in folder.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    yield full


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Full]:
    """A file system of 16 MiB that another file fills."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")

    @contextlib.contextmanager
    def full(room: int) -> Iterator[None]:
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        os.truncate(filler, filler.stat().st_size - room)
        try:
            yield
        finally:
            filler.unlink()

    try:
        yield full
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(params=[limited, small_disk])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Full]:
    """Fills the disk that the folder ``disk`` is on."""
    disk: Callable[[Path], AbstractContextManager[Full]] = request.param
    folder = tmp_path / "disk"
    folder.mkdir()
    with disk(folder) as full:
        yield full


async def fill(store: Store) -> list[BaseException]:
    """Write from many tasks until the disk is full, and return the error that each of them got."""

    async def writer(n: int) -> BaseException:
        for m in range(1000):
            try:
                await append(store, f"s{n}", f"{n}/{m} " + "x" * 3000)
            except StoreUnavailable as error:
                return error
        raise AssertionError("the disk never was full")

    return list(await asyncio.gather(*[writer(n) for n in range(16)]))


async def test_a_full_disk_is_reported_until_there_is_space(full: Full, tmp_path: Path) -> None:
    """Every caller gets STORE_UNAVAILABLE, acknowledged changes can be read, and the store recovers."""
    store = SQLiteStore(tmp_path / "disk" / "sessions.db")
    await store.open()
    for n in range(16):
        await put(store, session(f"s{n}", create_time=n))
    with full(0):
        errors = await fill(store)
        assert len(errors) == 16
        assert {error.reason for error in errors if isinstance(error, StoreUnavailable)} == {"STORE_UNAVAILABLE"}
        with pytest.raises(StoreUnavailable):
            await append(store, "s3", LARGE)
        assert await listed(store) == [f"s{n}" for n in range(16)]
        before = {n: await texts(store, f"uid-s{n}") for n in range(16)}
    for n in range(16):
        await append(store, f"s{n}", "after")
        assert await texts(store, f"uid-s{n}") == [*before[n], "after"]
        stored = await store.session("t", f"s{n}")
        assert stored is not None
        assert stored.message_count == len(before[n]) + 1
    await store.close()
    again = SQLiteStore(tmp_path / "disk" / "sessions.db")
    await again.open()
    assert {n: await texts(again, f"uid-s{n}") for n in range(16)} == {n: [*before[n], "after"] for n in range(16)}
    await again.close()


async def test_a_large_change_without_space_fails_alone(full: Full, tmp_path: Path) -> None:
    """Changes that are committed together fail one by one."""
    store = SQLiteStore(tmp_path / "disk" / "sessions.db")
    await store.open()
    for name in ("large", "small"):
        await put(store, session(name))
    with full(1_000_000):
        ended = await asyncio.gather(
            *[append(store, "small", f"{n}") for n in range(10)],
            append(store, "large", LARGE),
            *[append(store, "small", f"{n}") for n in range(10, 20)],
            return_exceptions=True,
        )
    assert [n for n, end in enumerate(ended) if isinstance(end, StoreUnavailable)] == [10]
    small = await store.messages("t", "uid-small", 0, 100)
    assert [(message.index, message.text) for message in small] == [(n, f"{n}") for n in range(20)]
    assert await texts(store, "uid-large") == []
    for name, count in (("small", 20), ("large", 0)):
        stored = await store.session("t", name)
        assert stored is not None
        assert stored.message_count == count
    await store.close()


async def test_a_store_does_not_start_on_a_full_disk(full: Full, tmp_path: Path) -> None:
    """The start fails with the reason, and the next start succeeds."""
    path = tmp_path / "disk" / "sessions.db"
    (path.parent / "something").write_bytes(b"x")
    with full(0), pytest.raises(ConfigError) as raised:
        await SQLiteStore(path).open()
    assert str(path) in str(raised.value)
    store = SQLiteStore(path)
    await store.open()
    await put(store, session())
    await store.close()


@pytest.mark.parametrize("full", [small_disk], indirect=True)  # a limit of sizes leaves room for the log
async def test_a_full_disk_is_named_at_the_start_of_a_store_that_exists(full: Full, tmp_path: Path) -> None:
    """Whether there is no room for the index of the log, or to drop the holds of the last process; no lock stays."""
    path = tmp_path / "disk" / "sessions.db"
    store = SQLiteStore(path)
    await store.open()
    await write(store, Change(hold=hold()))
    await store.close()
    with full(0), pytest.raises(ConfigError, match="the disk is full: free some space"):
        await store.open()
    with contextlib.closing(sqlite3.connect(path)) as other:  # as after a crash, the log and its index are there
        other.execute("SELECT count(*) FROM holds").fetchone()
        with full(0), pytest.raises(ConfigError, match="the disk is full: free some space"):
            await store.open()
        await store.open()
        await store.close()
        with full(0):  # without holds nothing is to be written
            await store.open()
            assert await listed(store) == []
            await store.close()
