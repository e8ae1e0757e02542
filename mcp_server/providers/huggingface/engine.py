"""One loaded model: the process that computes, and the way to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import structlog

from mcp_server.providers.huggingface.protocol import (
    LENGTH,
    Answer,
    AnyAnswer,
    AnyMessage,
    AnyQuestion,
    Cancel,
    Done,
    Facts,
    Failed,
    Failure,
    Loading,
    LogLine,
    Ready,
    Stopped,
    TokenCount,
    Vectors,
    frame,
)
from mcp_server.providers.local.lazy import LoadFailed
from mcp_server.providers.local.process import ModelProcess
from mcp_server.providers.local.supervisor import Supervisor, Work
from mcp_server.providers.local.suspects import Suspects

log = structlog.get_logger("contextprotocol.providers")

WORKER: Final = "mcp_server.providers.huggingface.worker"
STALL_SECONDS: Final = 300.0
"""How long the process may work on requests without any answer: some models read a prompt in one go."""
LAST: Final = (Done, Failure, Stopped, TokenCount, Vectors)
"""The answers that no other answer to the same question follows."""


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

    def __init__(self, process: ModelProcess, suspects: Suspects, memory_limit: int | None) -> None:
        self.facts = Facts(generates=True)
        """What it can do; known once it is loaded."""
        self._process = process
        self._process.when_killed = self._lose_all
        self._suspects = suspects
        self._supervisor = Supervisor(process, suspects, memory_limit=memory_limit, stall_seconds=STALL_SECONDS)
        self._calls: dict[int, Call] = {}
        self._works: dict[int, Work] = {}
        self._ids = itertools.count()
        self._decode = msgspec.msgpack.Decoder(list[AnyMessage]).decode
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: Loading, suspects: Suspects, *, memory_limit: int | None = None) -> Engine:
        """Load a model.

        Args:
            settings: how.
            suspects: the requests that earlier processes of this model ended with.
            memory_limit: the most memory that it may take, in bytes; ``None``: see :class:`Supervisor`.

        Raises:
            LoadFailed: it cannot be loaded.
        """
        program = ("-m", WORKER, msgspec.json.encode(settings).decode())
        engine = cls(await ModelProcess.start(program, model=settings.model), suspects, memory_limit)
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

    def new_id(self) -> int:
        """The id of the next question."""
        return next(self._ids)

    @contextlib.asynccontextmanager
    async def ask(self, question: AnyQuestion) -> AsyncIterator[Call]:
        """Put a question. Leaving the context before its last answer stops the work.

        Raises:
            EngineLost: the process is gone. Also raised while its answers are waited for.
            UnsupportedByModel: earlier processes ended while they worked on this question.
        """
        content = msgspec.msgpack.encode(msgspec.structs.replace(question, id=0))
        async with self._suspects.admit(content):
            call = self._calls[question.id] = Call()
            work = self._works[question.id] = self._supervisor.begin(content)
            try:
                await self._send(question)
                yield call
            except EngineLost:
                work.break_off()
                raise
            finally:
                del self._calls[question.id]
                if question.id in self._works and self.alive:
                    # What it is asked for meanwhile waits in the pipe.
                    work.stop()
                    self._process.stdin.write(frame([Cancel(id=question.id)]))

    async def close(self) -> None:
        """End its process, whatever that does, and wait for it."""
        await self._process.close()
        await self._supervisor.close()
        self._lose_all()
        if self._reading is not None:
            await self._reading

    async def _send(self, question: AnyQuestion) -> None:
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
            self._supervisor.loaded()
            self._reading = asyncio.create_task(self._read())
            return
        outcome, output = await self._process.outcome(), self._process.output
        if isinstance(first, Failed):
            reason = first.why
        elif output and not self._process.kill_reason and self._process.crashed:
            # The last line of a traceback is the exception.
            reason = f"its process {outcome}: {output[-1]}"
        else:
            reason = f"its process {outcome}"
        log.error(
            "model process ended while loading", model=self._process.model, reason=reason, how=outcome, output=output
        )
        raise LoadFailed(reason)

    async def _read(self) -> None:
        """Hand the answers to those who asked."""
        while answers := await self._some():
            for answer in answers:
                if isinstance(answer, LogLine):
                    log.error("model failed", model=self._process.model, output=answer.text)
                elif isinstance(answer, Failed):
                    self._supervisor.kill(answer.why)
                elif isinstance(answer, Answer):
                    self._take(answer)
        self._lose_all()

    def _take(self, answer: AnyAnswer) -> None:
        if (work := self._works.get(answer.id)) is not None:
            work.progress()
            if isinstance(answer, LAST):
                del self._works[answer.id]
                work.end()
        if (call := self._calls.get(answer.id)) is not None:
            call.put(answer)

    def _lose_all(self) -> None:
        """Have everybody notice at once that the process is gone."""
        for call in self._calls.values():
            call.lose()

    async def _some(self) -> list[AnyMessage]:
        """What the process says next; nothing when it has ended."""
        try:
            (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
            return self._decode(await self._process.stdout.readexactly(length))
        except asyncio.IncompleteReadError:
            return []
