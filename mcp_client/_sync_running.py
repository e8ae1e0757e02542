"""How the functions that a model asks for are run by a blocking client: each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Sequence
from concurrent.futures import wait

from mcp_client._functions import Functions, in_thread
from mcp_client._messages import ToolCall, ToolResult


class Running:
    """Functions that run beside each other, whoever waits for them.

    Args:
        functions: what there is.
        calls: what is run of it.
    """

    def __init__(self, functions: Functions, calls: Sequence[ToolCall]) -> None:
        self._functions = functions
        self._stopped = False
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[ToolResult]]] = []
        self._futures = [in_thread(functools.partial(self._run, call)) for call in calls]

    def results(self, timeout: float | None) -> Sequence[ToolResult]:
        """What all of them answer, in their order.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: one of them takes longer. They run on, as they do if who waits is interrupted.
        """
        _, others = wait(self._futures, timeout)
        if others:
            raise TimeoutError
        return [future.result() for future in self._futures]

    def stop(self) -> None:
        """Cancel what is asynchronous. All else runs on: a thread cannot be stopped."""
        self._stopped = True
        for loop, task in self._tasks:
            with contextlib.suppress(RuntimeError):  # it has ended, and its loop with it
                loop.call_soon_threadsafe(task.cancel)

    def _run(self, call: ToolCall) -> ToolResult:
        result = self._functions.run(call)
        # An event loop of its own, beside one that may run where the client is used.
        return result if isinstance(result, ToolResult) else asyncio.run(self._awaited(result))

    async def _awaited(self, result: Awaitable[ToolResult]) -> ToolResult:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append((asyncio.get_running_loop(), task))
        if self._stopped:  # before anybody knew of this task
            task.cancel()
        return await result
