"""One loaded model: the process that computes, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import structlog

from mcp_server.providers.llama_cpp.connection import Connection
from mcp_server.providers.local.lazy import LoadFailed

log = structlog.get_logger("contextprotocol.providers")

WORKER = Path(__file__).with_name("worker.py")
READY = b"ready\n"
END_SECONDS = 5.0
"""How long the process may take to end by itself."""
KEPT_LINES = 8
"""How many of llama.cpp's last lines of output are kept to explain a failure."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded."""

    path: Path
    """Its file."""
    context_window: int
    """The most tokens of one prompt and its answer."""
    parallel: int
    """How many answers are worked on at once; each takes memory for a whole context window."""
    batch: int
    """How many tokens of a prompt are read in one go: the others wait for so long, and so does a stop."""
    threads: int
    """How many threads compute."""
    embedding: bool = False
    """Whether it makes embeddings; then it writes no text."""
    pool: bool = False
    """Whether the vectors of a text's tokens are averaged, because the file does not say what to do with them."""


class Engine:
    """A model that is loaded. Made by :meth:`start`."""

    def __init__(self, process: Process, folder: Path, settings: Loading) -> None:
        self.settings = settings
        self._slots = asyncio.Semaphore(settings.parallel)
        self._leaving: set[asyncio.Task[None]] = set()
        self._process = process
        self._folder = folder
        self._stderr_tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, settings: Loading) -> Engine:
        """Load a model.

        Raises:
            LoadFailed: llama.cpp does not take it.
        """
        # Only this user may enter the folder, and so only this user may connect.
        folder = Path(tempfile.mkdtemp(prefix="contextprotocol-"))
        try:
            argument = {
                **msgspec.structs.asdict(settings),
                "path": str(settings.path),
                "socket": str(folder / "llama.sock"),
                # Each connection holds one; besides the answers there are tokens to count.
                "connections": settings.parallel + 4,
            }
            program = (sys.executable, "-P", str(WORKER), msgspec.json.encode(argument).decode())
            process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        except BaseException:
            shutil.rmtree(folder)
            raise
        engine = cls(process, folder, settings)
        try:
            await engine._loaded()
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.returncode is None

    @contextlib.asynccontextmanager
    async def post(self, path: str, body: bytes, *, slot: bool = True) -> AsyncIterator[Connection]:
        """Send a request, and give the connection on which its answer comes. Leaving the context early stops the work.

        Args:
            path: what is asked.
            body: the question, as JSON.
            slot: whether it computes: then it waits for a place, and holds that until its work has really ended.

        Raises:
            BrokenConnection: the process is gone. Also raised while the answer is read.
        """
        if slot:
            await self._slots.acquire()
        connection: Connection | None = None
        try:
            connection = await Connection.open(str(self._folder / "llama.sock"))
            await connection.ask(path, body)
            yield connection
        finally:
            if connection is None or connection.ended:
                self._left(connection, slot=slot)
            else:
                leaving = asyncio.create_task(self._leave(connection, slot=slot))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._listening
        # The connections end with the process.
        await asyncio.gather(*self._leaving)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _leave(self, connection: Connection, *, slot: bool) -> None:
        await connection.leave()
        self._left(connection, slot=slot)

    def _left(self, connection: Connection | None, *, slot: bool) -> None:
        if connection is not None:
            connection.close()
        if slot:
            self._slots.release()

    async def _loaded(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line == READY:
                return
        code = await self._process.wait()
        await self._listening
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        # Its output is for the operator only: it can contain paths and lines of code.
        log.error("model process ended while loading", file=str(self.settings.path), output=list(self._stderr_tail))
        raise LoadFailed(f"llama.cpp {ended}; the server's log says more")

    async def _listen(self) -> None:
        """Read its standard error, and keep the end of it."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            if text := line.decode(errors="replace").strip():
                self._stderr_tail.append(text)
