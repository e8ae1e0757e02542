"""The clients of a mixed load: each is handed turns, and asks for them as programs of its kind do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from mcp_client import MCPClient, MCPSyncClient, Reply, Retry, RetryNotice
from tests.interop.languages import Language
from tests.interop.programs import Program, started

WORKERS: Final = 4
"""How many turns each client has at once."""
PATIENCE: Final = 150.0
"""Seconds after which a turn without an answer counts as lost: enough for two silent connections or three."""
RETRY: Final = Retry(patience=PATIENCE)
"""One silent connection may follow the other."""
KEEPALIVE: Final = 10.0
"""Seconds without traffic after which a client tries whether its connection is alive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What a client is to ask."""

    text: str
    """The question."""
    session: str
    """The full name; empty: none."""
    request_id: str
    """The same in all attempts."""
    streamed: bool
    """Or in one piece."""
    timeout: float = PATIENCE
    """Seconds for all attempts together."""


@dataclass(slots=True)
class Sent:
    """What a client had to do for its answers."""

    again: int = 0
    """Requests that it sent again."""
    resumed: int = 0
    """Of those, the ones that went on in the middle of an answer."""

    def count(self, notice: RetryNotice) -> None:
        """What the finished clients do unasked."""
        self.again += 1
        self.resumed += notice.sequence > 0


class Client(Protocol):
    """One of them."""

    async def ask(self, turn: Turn) -> str:
        """The answer, whatever it takes."""

    async def sent(self) -> Sent:
        """What it took; nothing is asked after this."""


Start = Callable[[str], AbstractAsyncContextManager[Client]]
"""Starts a client with the address that it is to talk to; it ends at the latest when that is left."""


def starts(languages: Sequence[Language], cache: Path) -> Mapping[str, Start]:
    """How each client is started, by its name: the two in Python, and the programs of ``tests/interop``.

    Args:
        languages: of the programs; they are built.
        cache: a folder for what is built.
    """
    programs = {language.title: _program(language.build(cache)) for language in languages}
    return {"MCPClient": _asynchronous, "MCPSyncClient": _blocking, **programs}


@asynccontextmanager
async def _asynchronous(address: str) -> AsyncIterator[Client]:
    sent = Sent()
    async with MCPClient(address, retry=RETRY, on_retry=sent.count, keepalive=KEEPALIVE) as client:
        yield _Asynchronous(client, sent)


@asynccontextmanager
async def _blocking(address: str) -> AsyncIterator[Client]:
    sent = Sent()
    with (
        ThreadPoolExecutor(WORKERS) as threads,
        MCPSyncClient(address, retry=RETRY, on_retry=sent.count, keepalive=KEEPALIVE) as client,
    ):
        yield _Blocking(client, threads, sent)


def _program(command: Sequence[str]) -> Start:
    @asynccontextmanager
    async def start(address: str) -> AsyncIterator[Client]:
        async with started(command, address, "load") as program:
            client = _Foreign(program)
            try:
                yield client
            finally:
                client.reading.cancel()

    return start


class _Asynchronous:
    """``MCPClient``."""

    def __init__(self, client: MCPClient, sent: Sent) -> None:
        self._client = client
        self._sent = sent

    async def ask(self, turn: Turn) -> str:
        if not turn.streamed:
            reply: Reply = await self._client.chat(turn.text, **_options(turn))
            return reply.text
        async with self._client.stream_chat(turn.text, **_options(turn)) as stream:
            return "".join([token async for token in stream])

    async def sent(self) -> Sent:
        return self._sent


class _Blocking:
    """``MCPSyncClient``, shared by threads."""

    def __init__(self, client: MCPSyncClient, threads: ThreadPoolExecutor, sent: Sent) -> None:
        self._client = client
        self._threads = threads
        self._sent = sent

    async def ask(self, turn: Turn) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, turn)

    def _ask(self, turn: Turn) -> str:
        if not turn.streamed:
            reply: Reply = self._client.chat(turn.text, **_options(turn))
            return reply.text
        with self._client.stream_chat(turn.text, **_options(turn)) as stream:
            return "".join(stream)

    async def sent(self) -> Sent:
        return self._sent


def _options(turn: Turn) -> dict[str, Any]:
    return {"session": turn.session or None, "request_id": turn.request_id, "timeout": turn.timeout}


class _Foreign:
    """The case ``load`` of a program: it reads a turn a line, says each answer, and at the end what it took.

    Attributes:
        hearing: what it says.
    """

    def __init__(self, program: Program) -> None:
        self.reading = asyncio.create_task(self._read())
        self._program = program
        self._answers: dict[str, asyncio.Future[str]] = {}

    async def ask(self, turn: Turn) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[turn.request_id] = answer
        self._program.send(asdict(turn))
        awaited: list[asyncio.Future[Any]] = [answer, self.reading]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await self.reading  # it raises why there is no more to hear
        return answer.result()

    async def _read(self) -> Sent:
        while "request_id" in (line := await self._program.line()):
            answer = self._answers.pop(line["request_id"])
            if "error" in line:
                answer.set_exception(AssertionError(line["error"]))
            else:
                answer.set_result(line["text"])
        await self._program.ended()
        return Sent(**line)

    async def sent(self) -> Sent:
        self._program.end()
        return await self.reading
