"""A server to be killed: SQLite in the folder of its first argument, the default model of its second.

Its providers are ``echo``, ``slow`` and ``words``.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import grpc
import msgspec

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent
from mcp_server.logs import configure
from mcp_server.settings import TurnSettings, WebSettings, testing_config
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.testing import EchoProvider, Gate, ScriptedProvider
from mcp_server.values import Capabilities, Model
from tests.wire import Wire

JOURNAL_INTERVAL: Final = 0.1
"""Seconds between two times that the server writes down what its turns have generated."""
PAUSE: Final = 0.004
"""Seconds from one word of ``words`` to the next."""


def words(question: str) -> list[str]:
    """What ``words`` answers to ``NUMBER anything``: so many words, with the whole question in each."""
    return [f"[{question}/{n}]" for n in range(int(question.partition(" ")[0]))]


def calls_in(folder: Path) -> Counter[str]:
    """How often ``words`` was asked each question, in all lives of the server."""
    file = folder / "calls"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


class _Words:
    """Answers slowly, and writes down first what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "calls"

    async def models(self) -> Sequence[Model]:
        return [Model(name="words", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        question = request.messages[-1].text
        with self._file.open("a") as file:
            file.write(f"{question}\n")
        for word in words(question):
            await asyncio.sleep(PAUSE)
            yield word
        yield Finish()

    async def close(self) -> None: ...


class Killable:
    """That server in a process of its own: an async context manager that kills it at the end.

    Args:
        path: the folder.
        default_model: ``provider/model`` of its own providers.

    Attributes:
        wire: the stubs of a channel to it.
        address: where it listens.
        web_address: where it serves HTTP.
    """

    wire: Wire

    def __init__(self, path: Path, *, default_model: str = "echo/echo") -> None:
        self._arguments = (str(path), default_model)
        self._process: asyncio.subprocess.Process | None = None
        self.address = self.web_address = ""

    async def __aenter__(self) -> Killable:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.killable", *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert self._process.stdout is not None
            addresses = (await self._process.stdout.readline()).decode().split()
            assert addresses, "it ended before it served"
            self.address, self.web_address = addresses
        except BaseException:  # a cancellation too must leave no process behind
            self._process.kill()
            await self._process.wait()
            raise
        self._channel = grpc.aio.insecure_channel(self.address)
        self.wire = Wire(None, self._channel)  # type: ignore[arg-type]  # it runs elsewhere
        return self

    def kill(self) -> None:
        """End it without a chance to do anything about it."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        self.kill()
        try:
            await self._channel.close()
        finally:
            await self._process.wait()


async def main(folder: Path, default_model: str) -> None:
    """Serve until it is killed."""
    config = msgspec.structs.replace(
        testing_config(default_model=default_model),
        store=SQLiteSettings(path=folder / "sessions.db"),
        turns=TurnSettings(journal_interval=JOURNAL_INTERVAL),
        web=WebSettings(address="127.0.0.1:0"),
    )
    configure(level="warning", format="json")
    providers: dict[str, Provider] = {
        "echo": EchoProvider(),
        "slow": ScriptedProvider(["one", Gate()]),
        "words": _Words(folder),
    }
    async with UnifiedMCPServer(config, providers=providers) as server:
        print(server.address, server.web_address, flush=True)  # noqa: T201  # this is how the test learns it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
