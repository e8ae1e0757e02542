"""The first steps of a stranger: all commands and programs of the front page and the tutorial, with the real model."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
ADDRESS = "127.0.0.1:50051"
INSTALLATION = ("python3 -m venv", ". .venv", "pip install")
"""The commands that the environment of the tests stands for."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Stranger:
    """Follows the page in a folder: saves its files, and runs its commands."""

    def __init__(self, folder: Path) -> None:
        programs = Path(sys.executable).parent
        self._folder = folder
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CONTEXTPROTOCOL_")},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CONTEXTPROTOCOL_ADDRESS": f"127.0.0.1:{free_port()}",
            "CONTEXTPROTOCOL_ADMIN__ADDRESS": "",
            "CONTEXTPROTOCOL_STORE__PATH": str(folder / "sessions.db"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self._server: asyncio.subprocess.Process | None = None

    async def follow(self, language: str, block: str) -> None:
        """Do what a block says."""
        if language != "console":
            named = re.match(r"# (\w+\.\w+)\n", block)
            program = named[1] if named else "program.py"
            (self._folder / program).write_text(block.replace(ADDRESS, self._environment["CONTEXTPROTOCOL_ADDRESS"]))
            block = "" if named else f"$ python {program}\n"
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            if "mcp-server serve" in command:
                await self._serve(command)
            elif not command.startswith(INSTALLATION):
                printed = await self._run(command)
                assert printed.strip(), command
                assert not expected or printed == expected, command

    async def _serve(self, command: str) -> None:
        """Start the server in the place of the one that runs. At a terminal it offers to download the model."""
        await self.stop()
        command = f"{command} --pull --address {self._environment['CONTEXTPROTOCOL_ADDRESS']}"
        self._server = await self._start(f"exec env {command}", stderr=asyncio.subprocess.DEVNULL)
        await self._run("mcp-client health --wait 60")

    async def stop(self) -> None:
        """Stop the server, if one runs."""
        if self._server is not None:
            self._server.terminate()
            await self._server.communicate()
            self._server = None

    async def _run(self, command: str) -> str:
        process = await self._start(command, stderr=asyncio.subprocess.PIPE)
        printed, errors = await process.communicate()
        assert process.returncode == 0, f"{command}\n{errors.decode()}"
        return printed.decode()

    async def _start(self, command: str, stderr: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", command),
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncIterator[Stranger]:
    """Somebody with an empty folder."""
    stranger = Stranger(tmp_path)
    yield stranger
    await stranger.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("page", "steps"), [("index.md", 3), ("tutorial.md", 21)])
async def test_the_page_works_as_it_says(page: str, steps: int, stranger: Stranger) -> None:
    """Each command and program ends well, and prints what the page shows."""
    blocks = re.findall(r"^```(python|toml|console)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == steps
    for language, block in blocks:
        await stranger.follow(language, block)
