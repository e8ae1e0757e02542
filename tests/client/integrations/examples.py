"""The applications of examples/web, each in a process that is started as its first lines say."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mcp_server.interfaces import GenerateRequest, ProviderEvent
from mcp_server.testing import ScriptedProvider, Step
from mcp_server.values import Capabilities, Model

FOLDER: Final = Path(__file__).parents[3] / "examples" / "web"
EXAMPLES: Final = {path.stem.removesuffix("_chat"): path for path in sorted(FOLDER.glob("*_chat.py"))}
"""By framework."""


@dataclass
class Application:
    """An example that runs.

    Attributes:
        process: the first of its group.
        output: the lines that it has printed.
        port: where it listens, on 127.0.0.1.
    """

    process: asyncio.subprocess.Process
    output: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Of its page."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> int:
        """Ask it to end, and wait until it has."""
        self.process.terminate()
        return await self.process.wait()

    async def kill(self) -> None:
        """End it and all that it has started, without a chance to do anything about it."""
        with suppress(ProcessLookupError):  # it may have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def started(framework: str, server: str, *, port: int = 0) -> AsyncIterator[Application]:
    """Start an example at a port, or at any, and kill it at the end.

    Args:
        framework: whose.
        server: the address of its server.
        port: 0: any.
    """
    settings = {"CONTEXTPROTOCOL_ADDRESS": server, "CHAT_SECRET": "the same at every start"}
    async with started_file(EXAMPLES[framework], settings, port=port) as application:
        yield application


@asynccontextmanager
async def started_file(path: Path, settings: Mapping[str, str], *, port: int = 0) -> AsyncIterator[Application]:
    """Start the example in that file, and kill it at the end.

    Args:
        path: the file.
        settings: further environment variables.
        port: 0: any.
    """
    settings = {
        **settings,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "error",
        # How each of the servers is told of its port.
        "PORT": f"{port}",
        "UVICORN_PORT": f"{port}",
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port} --no-control-socket",
    }
    process = await asyncio.create_subprocess_exec(
        *_command(path),
        cwd=FOLDER,
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    application = Application(process)
    try:
        application.port = await _port(application)
        reading = asyncio.create_task(_read(application))  # or it would stop at a full pipe
        yield application
    finally:
        await application.kill()
    await reading


def _command(path: Path) -> list[str]:
    """How its first lines say that it is started."""
    found = re.search("^Run ``(.+?)``", path.read_text(), re.MULTILINE)
    assert found
    return shlex.split(found[1])


async def _port(application: Application) -> int:
    """Where it says that it listens."""
    async for line in _lines(application):
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(application.output))


async def _read(application: Application) -> None:
    async for _ in _lines(application):
        pass


async def _lines(application: Application) -> AsyncIterator[str]:
    assert application.process.stdout is not None
    async for line in application.process.stdout:
        application.output.append(line.decode())
        yield application.output[-1]


class Stage:
    """A provider with a script for each message: what is said last is what is played."""

    def __init__(self) -> None:
        self._scripts: dict[str, ScriptedProvider] = {}

    def when(self, message: str, *script: Step) -> ScriptedProvider:
        """Set what is played to a message."""
        scripted = self._scripts[message] = ScriptedProvider(script)
        return scripted

    async def models(self) -> Sequence[Model]:
        """The model ``scripted``."""
        return [Model(name="scripted", capabilities=Capabilities(chat=True))]

    def generate(self, request: GenerateRequest, /) -> AsyncIterator[ProviderEvent]:
        """Play the script of the last message."""
        return self._scripts[request.messages[-1].text].generate(request)

    async def close(self) -> None:
        """Nothing to do."""
