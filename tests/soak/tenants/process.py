"""Starts, stops, kills and asks the server of the tenants."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import urllib.request
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

from tests.soak.hostile.process import STARTING, quiet_environment


class TenantServer:
    """The server, life after life.

    Args:
        file: its settings.
        admin: the address of its pages.
        log: the file for what it writes to standard error.
    """

    def __init__(self, file: Path, admin: str, log: Path) -> None:
        self._file = file
        self._admin = admin
        self._log = log
        self._process: Process | None = None

    async def start(self) -> None:
        """Return when it serves."""
        command = (sys.executable, "-m", "tests.soak.tenants.server", str(self._file))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, env=quiet_environment()
            )
        await self._line()

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def terminate(self) -> int:
        """Have it stop, and return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STARTING):
            return await self._process.wait()

    def reload(self) -> None:
        """Have it read its settings again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def held(self) -> dict[str, int]:
        """What it holds, by name."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(b"held\n")
        found: dict[str, int] = await self._line()
        return found

    async def metrics(self) -> str:
        """Its page of metrics."""
        url = f"http://{self._admin}/metrics"
        return await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())

    async def _line(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTING):
            line = await self._process.stdout.readline()
        assert line, f"the server has ended: {self._log.read_text()[-2000:]}"
        return json.loads(line)
