"""What goes on beside a test: servers, other calls, other processes. The blocking tests have a twin of this module."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from asyncio import Event as Moment
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import pytest

from mcp_server.app import UnifiedMCPServer as Server
from mcp_server.testing import Gate, ScriptedProvider, running
from tests.client.stand_in import StandIn
from tests.faults.proxy import Proxy

__all__ = [
    "Gate",
    "Moment",
    "Process",
    "Proxy",
    "ScriptedProvider",
    "Server",
    "StandIn",
    "gather",
    "interrupt",
    "running",
    "sleep",
    "spawn",
]

Result = TypeVar("Result")


class Spawned(Generic[Result]):
    """A call that goes on beside the test."""

    def __init__(self, task: asyncio.Task[Result]) -> None:
        self._task = task

    async def result(self) -> Result:
        """What it returns, when it does."""
        return await self._task

    def done(self) -> bool:
        """Whether it is over."""
        return self._task.done()

    def cancel(self) -> None:
        """Cancel its task."""
        self._task.cancel()


def spawn(call: Callable[..., Awaitable[Result]], *arguments: Any, **options: Any) -> Spawned[Result]:
    """Begin a call."""

    async def run() -> Result:
        return await call(*arguments, **options)

    return Spawned(asyncio.create_task(run()))


async def gather(*calls: Callable[[], Awaitable[Result]]) -> list[Result]:
    """The results of calls that go on at once."""
    return await asyncio.gather(*[call() for call in calls])


async def interrupt(call: Callable[[], Awaitable[Any]], after: Moment | threading.Event) -> None:
    """Make a call, and cancel it once that has happened."""
    calling = spawn(call)
    await (after.wait() if isinstance(after, Moment) else asyncio.to_thread(after.wait))
    await sleep(0)  # it waits now, for whatever it is
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling.result()


class Process:
    """A Python program in a process of its own, killed at the end."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    async def __aenter__(self) -> Process:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def read_line(self) -> bytes:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)
