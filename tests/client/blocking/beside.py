"""The twin of tests/client/beside.py for blocking tests: servers run in a loop in a thread, other calls in threads."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Event as Moment
from time import sleep
from typing import Any, Final, Generic, Self, TypeVar

import pytest

from mcp_server import testing
from mcp_server.app import UnifiedMCPServer
from mcp_server.values import Model
from tests.client import stand_in
from tests.faults import proxy

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


class Loop:
    """An event loop in a thread of its own, while it is entered."""

    def __enter__(self) -> Self:
        ready = Moment()

        async def serve() -> None:
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self._end.wait()

        self._thread = threading.Thread(target=asyncio.run, args=[serve()])
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call it there, wait for it if that is needed, and return what it returns."""

        async def run() -> Any:
            result = function(*arguments, **options)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[Result]) -> Iterator[Result]:
        """Enter it there."""
        entered = self.call(manager.__aenter__)
        try:
            yield entered
        finally:
            self.call(manager.__aexit__, None, None, None)


LOOP: Final = Loop()
"""Where the servers of a test run."""


class Server:
    """A server that lives in the loop: its methods are called there."""

    def __init__(self, target: UnifiedMCPServer) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return functools.partial(LOOP.call, value) if callable(value) else value


@contextmanager
def running(*arguments: Any, **options: Any) -> Iterator[Server]:
    """A real server."""
    with LOOP.entered(testing.running(*arguments, **options)) as server:
        yield Server(server)


class StandIn(stand_in.StandIn):
    """One whose test does not share its loop."""

    def __enter__(self) -> Self:
        LOOP.call(super().__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        LOOP.call(super().__aexit__)


class Proxy(proxy.Proxy):
    """One whose test does not share its loop."""

    def __enter__(self) -> Self:
        LOOP.call(super().__aenter__)
        return self

    def __exit__(self, *_: object) -> None:
        LOOP.call(super().__aexit__)

    def cut_all(self) -> None:
        """Reset every connection now."""
        LOOP.call(super().cut_all)


class Gate(testing.Gate):
    """One whose test does not share its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.reached: Moment = Moment()  # type: ignore[assignment]  # set by the provider, awaited by the test

    def open(self) -> None:
        """Let it go on."""
        LOOP.call(super().open)


class ScriptedProvider(testing.ScriptedProvider):
    """One whose test does not share its loop."""

    def __init__(self, *scripts: Sequence[testing.Step], model: Model | None = None) -> None:
        super().__init__(*scripts, model=model)
        self.stopped: Moment = Moment()  # type: ignore[assignment]  # set by itself, awaited by the test


class Spawned(Generic[Result]):
    """A call that goes on beside the test."""

    def __init__(self, future: Future[Result]) -> None:
        self._future = future

    def result(self) -> Result:
        """What it returns, when it does."""
        return self._future.result()

    def done(self) -> bool:
        """Whether it is over."""
        return self._future.done()


def spawn(call: Callable[..., Result], *arguments: Any, **options: Any) -> Spawned[Result]:
    """Begin a call."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(call, *arguments, **options)
    executor.shutdown(wait=False)
    return Spawned(future)


def gather(*calls: Callable[[], Result]) -> list[Result]:
    """The results of calls that go on at once."""
    with ThreadPoolExecutor(len(calls)) as executor:
        return list(executor.map(lambda call: call(), calls))


def interrupt(call: Callable[[], Any], after: Moment) -> None:
    """Make a call, and press Ctrl-C once that has happened."""

    def press() -> None:
        after.wait()
        sleep(0.1)  # nobody tells that the main thread waits now
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        spawn(press)
        call()


class Process:
    """A Python program in a process of its own, killed at the end."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, *self._arguments], stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read_line(self) -> bytes:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
