"""The server that is soaked, as its own process, and the talk with it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

_LINE: Final = 1 << 26
"""The longest line that it may say, in bytes."""


class Server:
    """The process.

    Attributes:
        address: where it listens.
        status: how it ended; ``None`` while it runs.
    """

    def __init__(self, process: Process, answer: dict[str, Any]) -> None:
        self.address: str = answer["address"]
        self.status: int | None = None
        self._metrics = answer["metrics"]
        self._process = process

    async def held(self) -> dict[str, int]:
        """What it holds, by name."""
        return await self._ask("held")

    async def asked(self) -> dict[str, int]:
        """How often its model was asked each question."""
        return await self._ask("asked")

    async def _ask(self, what: str) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())
        answer: dict[str, int] = await _read(self._process)
        return answer

    async def gauges(self) -> dict[str, float]:
        """What the metrics say of calls and turns that run."""
        url = f"http://127.0.0.1:{self._metrics}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
        found = {}
        for name in ("contextprotocol_turns_running", "grpc_server_in_flight"):
            found[name] = sum(map(float, re.findall(rf"^{name}{{.*}} (\S+)$", page, re.MULTILINE)))
        return found

    async def stop(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.status = await self._process.wait()


@asynccontextmanager
async def started(folder: Path, *arguments: str, program: str = "tests.soak.server") -> AsyncIterator[Server]:
    """Start it, and let it end in an orderly way.

    Args:
        folder: for its database.
        arguments: further ones of its program.
        program: the module that it runs.
    """
    command = (sys.executable, "-m", program, str(folder), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_LINE)
    try:
        server = Server(process, await _read(process))
        yield server
        async with asyncio.timeout(30):
            await server.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _read(process: Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "the server has ended"
    return json.loads(line)
