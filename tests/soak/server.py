"""The server that is soaked, in a process of its own.

For each line that it reads it says what it holds, or what its model was asked; when there are no more it stops in an
orderly way.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Finish, GenerateRequest, Provider, ProviderEvent
from mcp_server.logs import configure
from mcp_server.settings import (
    Config,
    MetricsSettings,
    SessionSettings,
    TurnSettings,
    testing_config,
)
from mcp_server.stores.sqlite.settings import SQLiteSettings
from mcp_server.values import Capabilities, Model


def answer(question: str) -> list[str]:
    """The pieces of the answer to ``WORDS MILLISECONDS anything``."""
    return [f"[{question}/{number}]" for number in range(int(question.split()[0]))]


class Words:
    """Answers so many words, with so many milliseconds from one to the next.

    Attributes:
        asked: how often it was asked each question.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def models(self) -> Sequence[Model]:
        return [Model(name="words", capabilities=Capabilities(chat=True))]

    async def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        question = request.messages[-1].text
        self.asked[question] += 1
        pause = int(question.split()[1]) / 1000
        for word in answer(question):
            await asyncio.sleep(pause)
            yield word
        yield Finish()

    async def close(self) -> None: ...


def held() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    process = psutil.Process()
    objects = gc.get_objects()
    ours = Counter(
        type(each).__name__
        for each in objects
        if type(each).__module__ in ("mcp_server.turns.runner", "mcp_server.turns.log")
    )
    return {
        "tasks": len(asyncio.all_tasks()),
        "open files and sockets": process.num_fds(),
        "threads": process.num_threads(),
        "live turns": ours["LiveTurn"],
        "logs of turns": ours["TurnLog"],
        "readers": ours["TurnReader"],
        "objects": len(objects),
        "memory, kB": process.memory_info().rss // 1024,
    }


async def main(folder: Path, grace: float) -> None:
    """Serve until standard input ends; turns go on without readers for ``grace`` seconds."""
    words = Words()
    config = msgspec.structs.replace(
        testing_config(default_model="words/words"),
        store=SQLiteSettings(path=folder / "sessions.db"),
        sessions=SessionSettings(sweep_interval=1),
        turns=TurnSettings(disconnect_grace=grace, journal_interval=0.2, heartbeat_interval=0.5, max_queued=3),
        metrics=MetricsSettings(address="127.0.0.1:0"),
    )
    await serve(config, {"words": words}, lambda line: held() if line == b"held\n" else words.asked)


async def serve(config: Config, providers: Mapping[str, Provider], answer_to: Callable[[bytes], object]) -> None:
    """Serve until standard input ends; for each line print what ``answer_to`` says."""
    configure(level="error", format="json")
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with UnifiedMCPServer(config, providers=providers) as server:
        _print({"address": server.address, "metrics": server.metrics_port})
        while line := await lines.readline():
            _print(answer_to(line))


def _print(answer: object) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201  # this is what the soak reads


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
