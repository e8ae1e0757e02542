"""The programs of ``examples``, each in a process of its own, as people start them."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
PYTHON: Final = (sys.executable, "-W", "error", "-u")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A program that has ended."""

    status: int
    output: str
    errors: str


class Program:
    """A program that runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        """What has been read of its standard output."""

    async def until(self, text: str) -> None:
        """Read its output until it has printed that."""
        assert self.process.stdout is not None
        while text not in self.output:
            piece = await self.process.stdout.read(1 << 12)
            assert piece, f"it ended: {self.output!r} {await self._errors()}"
            self.output += piece.decode()

    async def type(self, line: str) -> None:
        """Type a line and Enter."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def ended(self) -> Ended:
        """Close its standard input and wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        output, errors = await self.process.communicate()
        self.output += output.decode()
        assert self.process.returncode is not None
        return Ended(status=self.process.returncode, output=self.output, errors=errors.decode())

    async def _errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def started(
    path: str,
    *arguments: str | Path,
    address: str,
    command: Sequence[str] = PYTHON,
    folder: Path = EXAMPLES,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Program]:
    """Start a program, and kill it at the end.

    Args:
        path: of its file, in ``folder``.
        arguments: on its command line.
        address: of its server.
        command: what runs it.
        folder: where it is.
        variables: further environment variables.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        path,
        *map(str, arguments),
        cwd=folder,
        env={**os.environ, "CONTEXTPROTOCOL_ADDRESS": address, **(variables or {})},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.kill()


async def printed(path: str, *arguments: str | Path, address: str, command: Sequence[str] = PYTHON) -> str:
    """What a program prints that ends well and without complaints."""
    async with started(path, *arguments, address=address, command=command) as program:
        ended = await program.ended()
    assert (ended.status, ended.errors) == (0, "")
    return ended.output
