"""Runs the functions that a model calls, each in a thread of its own. Written by hand."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Sequence
from concurrent.futures import wait

from mcp_client.tools.thread import in_thread
from mcp_client.tools.toolset import ToolSet
from mcp_client.values import ToolCall, ToolResult


class ToolRunner:
    """Runs the calls of one answer concurrently.

    Args:
        toolset: the functions.
        calls: the calls of the model.
    """

    def __init__(self, toolset: ToolSet, calls: Sequence[ToolCall]) -> None:
        self._toolset = toolset
        self._stopped = False
        self._tasks: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[ToolResult]]] = []
        self._futures = [in_thread(functools.partial(self._run, call)) for call in calls]

    def results(self, timeout: float | None) -> Sequence[ToolResult]:
        """Wait for the results, in the order of the calls.

        Args:
            timeout: in seconds.

        Raises:
            TimeoutError: a function takes longer. All keep running, as they do if the waiting thread is interrupted.
        """
        _, others = wait(self._futures, timeout)
        if others:
            raise TimeoutError
        return [future.result() for future in self._futures]

    def stop(self) -> None:
        """Cancel asynchronous functions. The others keep running, because threads cannot be stopped."""
        self._stopped = True
        for loop, task in self._tasks:
            with contextlib.suppress(RuntimeError):  # the task has ended, and its loop is closed
                loop.call_soon_threadsafe(task.cancel)

    def _run(self, call: ToolCall) -> ToolResult:
        result = self._toolset.run(call)
        # A new event loop, because the caller's thread may be running one.
        return result if isinstance(result, ToolResult) else asyncio.run(self._awaited(result))

    async def _awaited(self, result: Awaitable[ToolResult]) -> ToolResult:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append((asyncio.get_running_loop(), task))
        if self._stopped:  # before the task was registered
            task.cancel()
        return await result
