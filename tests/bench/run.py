"""One run: how much is done, what it is done with, and what it gave."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

import msgspec

from mcp_server.settings import ServerSettings
from tests.bench.curves import Curves
from tests.bench.load import Load
from tests.bench.processes import Asking, Measured, asking, started
from tests.bench.rows import Row


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much work is done."""

    calls: int
    """Unary chats in each measurement."""
    rounds: int
    """Rounds of burst streams."""
    paced_rounds: int
    """Rounds of paced streams."""
    first_tokens: int
    """Streams, one after the other, for the time to first token."""
    watched: int
    """The same with many readers of each."""
    held: int
    """Paced streams at once that must not stall."""
    starts: int
    """Starts of the server."""
    histories: Sequence[int]
    """Lengths of the histories, in messages."""
    history_sessions: int
    """Sessions of each length."""
    stored: Sequence[int]
    """Numbers of stored sessions."""
    stored_calls: int
    """Calls of each kind on each number of stored sessions."""
    growth: tuple[int, int]
    """Turns after which memory is looked at, and then again; for every ten of them a stream is cancelled."""
    costly: int
    """Bytes of a request that costs as much as it can."""
    overload: float
    """Seconds that each load of the overload lasts."""
    overload_rounds: int
    """How often each of them is measured."""
    together: bool = False
    """Whether all is measured at the same time: quick, and wrong."""


DEFAULT = Size(
    calls=6400,
    rounds=40,
    paced_rounds=5,
    first_tokens=300,
    watched=40,
    held=200,
    starts=5,
    histories=(10, 100, 1_000, 10_000),
    history_sessions=160,
    stored=(1_000, 10_000, 100_000),
    stored_calls=1_600,
    growth=(5_000, 15_000),
    costly=16 * 2**20 - 100,
    overload=4.0,
    overload_rounds=3,
)
FULL = msgspec.structs.replace(DEFAULT, stored=(1_000, 10_000, 100_000, 1_000_000), growth=(10_000, 100_000))
SMALL = Size(
    calls=64,
    rounds=1,
    paced_rounds=1,
    first_tokens=5,
    watched=2,
    held=8,
    starts=1,
    histories=(10, 100),
    history_sessions=16,
    stored=(20, 40, 80),
    stored_calls=32,
    growth=(32, 64),
    costly=70_000,
    overload=0.3,
    overload_rounds=1,
    together=True,
)


class Run:
    """One run.

    Attributes:
        size: how much is done.
        rows: what it gave.
        curves: the same as pictures, by the name of the file.
        folder: where stores keep their files.

    Args:
        size: how much to do.
        upstream: the mock provider.
        folder: an empty folder.
    """

    def __init__(self, size: Size, upstream: Measured, folder: Path) -> None:
        self.size = size
        self.rows: list[Row] = []
        self.curves: dict[str, Curves] = {}
        self.folder = folder
        self._upstream = upstream

    def asking(self, way: str) -> AbstractAsyncContextManager[Asking]:
        """Calls to the upstream itself."""
        return asking(way, self._upstream.port)

    @contextlib.asynccontextmanager
    async def floor(self) -> AsyncIterator[tuple[Measured, Load]]:
        """A fresh floor and a load for it."""
        async with started("tests.bench.floor", str(self._upstream.port)) as process, Load(process.port) as load:
            yield process, load

    @contextlib.asynccontextmanager
    async def system(
        self,
        path: Path | None = None,
        *,
        store: Literal["sqlite", "memory"] = "sqlite",
        max_pending: int = ServerSettings().max_pending,
        web: bool = False,
    ) -> AsyncIterator[tuple[Measured, Load]]:
        """A fresh system and a load for it.

        Args:
            path: the file of its store; ``None``: a new one that goes afterwards.
            store: the kind of its store.
            max_pending: its setting.
            web: whether it has an HTTP edge.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = "" if store == "memory" else str(path or Path(folder) / "sessions.db")
            async with (
                started(
                    "tests.bench.system", str(self._upstream.port), file, str(max_pending), *(["web"] if web else [])
                ) as process,
                Load(process.port) as load,
            ):
                yield process, load
