"""One loaded model: the process that computes, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import msgspec
import structlog

from mcp_server.providers.huggingface.protocol import (
    LENGTH,
    Answer,
    AnyMessage,
    AnyQuestion,
    Cancel,
    Facts,
    Failed,
    Loading,
    LogLine,
    Ready,
    frame,
)
from mcp_server.providers.local.lazy import LoadFailed

log = structlog.get_logger("contextprotocol.providers")

WORKER = "mcp_server.providers.huggingface.worker"
END_SECONDS = 5.0
"""How long the process may take to end by itself."""
KEPT_BYTES = 4096
"""How much of the process's last output is kept to explain a failure, in bytes."""


class EngineLost(Exception):
    """The process has ended."""


class Call:
    """One question, and its answers as they come. Made by :meth:`Engine.ask`."""

    def __init__(self) -> None:
        self.ended = False
        """Whether its last answer was taken."""
        self._come: list[AnyMessage] = []
        self._news = asyncio.Event()
        self._lost = False

    async def answers(self) -> list[AnyMessage]:
        """All that have come since, at least one.

        Raises:
            EngineLost: the process ended before it had answered.
        """
        while not self._come:
            if self._lost:
                raise EngineLost
            self._news.clear()
            await self._news.wait()
        come, self._come = self._come, []
        return come

    def put(self, answer: AnyMessage) -> None:
        """An answer has come."""
        self._come.append(answer)
        self._news.set()

    def lose(self) -> None:
        """No more will come."""
        self._lost = True
        self._news.set()


class Engine:
    """A model that is loaded. Made by :meth:`start`."""

    def __init__(self, process: Process, model: str) -> None:
        self.facts = Facts(generates=True)
        """What it can do; known once it is loaded."""
        self._process = process
        self._model = model
        self._calls: dict[int, Call] = {}
        self._ids = itertools.count()
        self._decode = msgspec.msgpack.Decoder(list[AnyMessage]).decode
        self._stderr = b""
        self._listening = asyncio.create_task(self._listen())
        self._reading: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def start(cls, settings: Loading) -> Engine:
        """Load a model.

        Raises:
            LoadFailed: it cannot be loaded.
        """
        program = (sys.executable, "-P", "-m", WORKER, msgspec.json.encode(settings).decode())
        process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        engine = cls(process, settings.model)
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

    def new_id(self) -> int:
        """The id of the next question."""
        return next(self._ids)

    @contextlib.asynccontextmanager
    async def ask(self, question: AnyQuestion) -> AsyncIterator[Call]:
        """Put a question. Leaving the context before its last answer stops the work.

        Raises:
            EngineLost: the process is gone. Also raised while its answers are waited for.
        """
        assert self._process.stdin is not None
        call = Call()
        self._calls[question.id] = call
        try:
            await self._send(question)
            yield call
        finally:
            del self._calls[question.id]
            if not (call.ended or self._process.stdin.is_closing()):
                self._process.stdin.write(frame([Cancel(id=question.id)]))

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        assert self._process.stdin is not None
        self._closing = True
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._listening
        if self._reading is not None:
            await self._reading

    async def _send(self, question: AnyQuestion) -> None:
        assert self._process.stdin is not None
        if not self.alive:
            raise EngineLost
        try:
            self._process.stdin.write(frame([question]))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EngineLost from error

    async def _loaded(self) -> None:
        (first,) = await self._some() or (None,)
        if isinstance(first, Ready):
            self.facts = first.facts
            self._reading = asyncio.create_task(self._read())
            return
        if isinstance(first, Failed):
            raise LoadFailed(first.why)
        code = await self._process.wait()
        await self._listening
        # Its output is for the operator only: it can contain paths and lines of code.
        log.error("model process ended while loading", model=self._model, output=self._output)
        raise LoadFailed(f"its process {_ended(code)}; the server's log says more")

    async def _read(self) -> None:
        """Hand the answers to those who asked."""
        while answers := await self._some():
            for answer in answers:
                if isinstance(answer, LogLine):
                    log.error("model failed", model=self._model, output=answer.text)
                elif isinstance(answer, Answer) and (call := self._calls.get(answer.id)) is not None:
                    call.put(answer)
        wanted = self._closing
        for call in self._calls.values():
            call.lose()
        code = await self._process.wait()
        await self._listening
        if not wanted:
            log.error(
                "model process ended",
                model=self._model,
                how=_ended(code),
                output=self._output,
            )

    async def _some(self) -> list[AnyMessage]:
        """What the process says next; nothing when it has ended."""
        assert self._process.stdout is not None
        try:
            (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
            return self._decode(await self._process.stdout.readexactly(length))
        except asyncio.IncompleteReadError:
            return []

    @property
    def _output(self) -> str:
        """The end of its standard error."""
        return self._stderr.decode(errors="replace")

    async def _listen(self) -> None:
        """Read its standard error, and keep the end of it."""
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(KEPT_BYTES):
            self._stderr = (self._stderr + chunk)[-KEPT_BYTES:]


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    killed = ", as Linux does where memory runs out" if code == -9 else ""
    return f"was ended by signal {-code}{killed}"
