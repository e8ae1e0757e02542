"""One loaded model: the process that computes, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from mcp_server.providers.llama_cpp.connection import BrokenConnection, Connection
from mcp_server.providers.local.lazy import LoadFailed
from mcp_server.providers.local.process import ModelProcess
from mcp_server.providers.local.supervisor import Supervisor, Work
from mcp_server.providers.local.suspects import Suspects

log = structlog.get_logger("contextprotocol.providers")

WORKER = Path(__file__).with_name("worker.py")
READY = b"ready\n"
STALL_SECONDS: Final = 60.0
"""How long no answer may make progress: it does with each token, and with each batch of a prompt."""
LONG_STEP_SECONDS: Final = 300.0
"""How long a text may take to be embedded, or an image to be read: each is one step."""
PROBE: Final = "/lora-adapters"
"""A small question that the thread that computes answers, between two steps."""
_ERROR_LINE: Final = re.compile(r"[0-9.]+ E (?:[\w ]+: +)?(.+)")
"""How llama.cpp writes an error: with the time, the letter of its level, and often the function."""


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded."""

    model: str
    """What calls name it by."""
    path: Path
    """Its file."""
    context_window: int
    """The most tokens of one prompt and its answer."""
    parallel: int
    """How many answers are worked on at once; each takes memory for a whole context window."""
    batch: int
    """How many tokens are read in one go at most, for example those of a text to embed."""
    embedding_window: int
    """The most tokens of a text to embed, not more than ``batch``."""
    threads: int
    """How many threads compute."""
    generates: bool = True
    """Whether it writes text; all models make embeddings."""
    chat_template: Path | None = None
    """The file with its chat template; ``None``: the model file has it."""
    projector: Path | None = None
    """The file that turns images into what it reads; ``None``: it sees none."""
    pool: bool = False
    """Whether the vectors of a text's tokens are averaged, because the file does not say what to do with them."""


class Engine:
    """A model that is loaded. Made by :meth:`start`."""

    def __init__(
        self,
        process: ModelProcess,
        folder: Path,
        settings: Loading,
        suspects: Suspects,
        memory_limit: int | None,
    ) -> None:
        self.settings = settings
        self._slots = asyncio.Semaphore(settings.parallel)
        self._connections: set[Connection] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._process = process
        self._process.when_killed = self._disconnect
        self._folder = folder
        self._suspects = suspects
        self._supervisor = Supervisor(
            process,
            suspects,
            memory_limit=memory_limit,
            stall_seconds=STALL_SECONDS,
        )

    @classmethod
    async def start(cls, settings: Loading, suspects: Suspects, *, memory_limit: int | None = None) -> Engine:
        """Load a model.

        Args:
            settings: how.
            suspects: the requests that earlier processes of this model ended with.
            memory_limit: the most memory that it may take, in bytes; ``None``: see :class:`Supervisor`.

        Raises:
            LoadFailed: llama.cpp does not take it.
        """
        # Only this user may enter the folder, and so only this user may connect.
        try:
            folder = Path(tempfile.mkdtemp(prefix="contextprotocol-"))
        except OSError as error:
            raise LoadFailed(f"there is no folder for its socket: {error.strerror or error}") from error
        try:
            argument = {
                **msgspec.structs.asdict(settings),
                **{
                    name: str(path)
                    for name in ("path", "chat_template", "projector")
                    if (path := getattr(settings, name)) is not None
                },
                "socket": str(folder / "llama.sock"),
                # Each connection holds one; besides the answers there are tokens to count.
                "connections": settings.parallel + 4,
            }
            program = (str(WORKER), msgspec.json.encode(argument).decode())
            process = await ModelProcess.start(program, model=settings.model)
        except BaseException:
            shutil.rmtree(folder)
            raise
        engine = cls(process, folder, settings, suspects, memory_limit)
        try:
            await engine._loaded()
        except BaseException:
            await engine.close()
            raise
        return engine

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    async def outcome(self) -> str:
        """How its process ended, to complete "the process of the model X …"."""
        return await self._process.outcome()

    @contextlib.asynccontextmanager
    async def admit(self, content: bytes) -> AsyncIterator[None]:
        """Work on a caller's request within this context. Those with which earlier processes ended wait for each other.

        Raises:
            UnsupportedByModel: earlier processes ended because of it.
        """
        async with self._suspects.admit(content):
            yield

    @contextlib.asynccontextmanager
    async def post(
        self,
        path: str,
        body: bytes,
        *,
        slot: bool = True,
        content: bytes | None = None,
        step_seconds: float = 0.0,
    ) -> AsyncIterator[Connection]:
        """Send a request, and give the connection on which its answer comes. Leaving the context early stops the work.

        Args:
            path: what is asked.
            body: the question, as JSON.
            slot: whether it computes: then it waits for a place, and holds that until its work has really ended.
            content: the caller's request that it is part of, once that is admitted; ``None``: it is all of it, and is
                admitted here.
            step_seconds: how long one step of it may take, if it has long ones.

        Raises:
            BrokenConnection: the process is gone. Also raised while the answer is read.
            UnsupportedByModel: earlier processes ended because of this request.
        """
        async with contextlib.AsyncExitStack() as admitted:
            if content is None:
                await admitted.enter_async_context(self.admit(body))
            if slot:
                await self._slots.acquire()
            work = self._supervisor.begin(content or body, step_seconds=step_seconds)
            connection: Connection | None = None
            try:
                connection = await Connection.open(str(self._folder / "llama.sock"), work.progress)
                self._connections.add(connection)
                await connection.ask(path, body)
                yield connection
            except BrokenConnection:
                work.break_off()
                raise
            finally:
                if connection is None or connection.ended:
                    self._left(connection, work, slot=slot)
                else:
                    leaving = asyncio.create_task(self._leave(connection, work, slot=slot))
                    self._leaving.add(leaving)
                    leaving.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        await self._process.close()
        await self._supervisor.close()
        # The connections end with the process.
        self._disconnect()
        await asyncio.gather(*self._leaving)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _leave(self, connection: Connection, work: Work, *, slot: bool) -> None:
        work.stop()
        await connection.leave()
        with contextlib.suppress(BrokenConnection):
            await self._probe()
        self._left(connection, work, slot=slot)

    async def _probe(self) -> None:
        """Wait until the thread that computes has done what it was asked before, a stop for example."""
        connection = await Connection.open(str(self._folder / "llama.sock"), lambda: None)
        self._connections.add(connection)
        try:
            await connection.ask(PROBE, method="GET")
        finally:
            connection.close()
            self._connections.discard(connection)

    def _left(self, connection: Connection | None, work: Work, *, slot: bool) -> None:
        work.end()
        if connection is not None:
            connection.close()
            self._connections.discard(connection)
        if slot:
            self._slots.release()

    def _disconnect(self) -> None:
        """Have everybody notice at once that the process is gone."""
        for connection in list(self._connections):
            connection.close()

    async def _loaded(self) -> None:
        if await self._process.stdout.read(len(READY)) == READY:
            self._supervisor.loaded()
            return
        outcome = await self._process.outcome()
        output = self._process.output
        # llama.cpp says first what is wrong, and then what could not be done for that reason.
        errors = [found[1] for line in output if (found := _ERROR_LINE.fullmatch(line))] or output[-1:]
        reason = errors[0] if errors and not self._process.kill_reason else f"its process {outcome}"
        log.error(
            "model process ended while loading", model=self.settings.model, reason=reason, how=outcome, output=output
        )
        raise LoadFailed(f"{reason} ({self.settings.path})")
