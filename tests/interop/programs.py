"""The program of a language, as its own process, and the talk with it.

It is started with an address and the name of a case, prints JSON, a line at a time, and ends with its findings. Where
the test has something to do in between, it prints ``{"pause": …}`` and waits for a line. The case ``load`` is told what
to do in lines of JSON, and says what came of each, until there are no more.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any


class Program:
    """A program that runs."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def pause(self) -> Any:
        """Wait until it waits; what it has to say then."""
        line = await self.line()
        assert "pause" in line, line
        return line["pause"]

    def go_on(self) -> None:
        """Let it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def send(self, what: object) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(what)}\n".encode())

    def end(self) -> None:
        """Tell it that there is no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def found(self) -> dict[str, Any]:
        """Its findings, when it has ended well and without complaints."""
        line = await self.line()
        assert "pause" not in line, line
        await self.ended()
        return line

    async def ended(self) -> None:
        """Wait until it has ended: well, and without complaints."""
        output, complaints = await self._process.communicate()
        assert (self._process.returncode, output, complaints.decode()) == (0, b"", "")

    async def line(self) -> dict[str, Any]:
        """What it says next."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            _, complaints = await self._process.communicate()
            raise AssertionError(f"it ended with {self._process.returncode}:\n{complaints.decode()}")
        found: dict[str, Any] = json.loads(line)
        return found


@asynccontextmanager
async def started(command: Sequence[str], address: str, case: str) -> AsyncIterator[Program]:
    """The program, ended at the latest when this is left."""
    process = await asyncio.create_subprocess_exec(*command, address, case, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
