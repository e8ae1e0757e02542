"""Runs the functions that a model calls, in the event loop and in threads. The blocking client has its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from mcp_client._aio.transport import uninterrupted
from mcp_client._core.defaults import STOP_TIMEOUT
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
        self._tasks = [asyncio.create_task(_run(toolset, call)) for call in calls]

    async def results(self, timeout: float | None) -> Sequence[ToolResult]:
        """Wait for the results, in the order of the calls.

        Args:
            timeout: in seconds.

        Raises:
            TimeoutError: a function takes longer. All keep running, as they do if the waiting task is cancelled.
        """
        _, others = await asyncio.wait(self._tasks, timeout=timeout)
        if others:
            raise TimeoutError
        return [task.result() for task in self._tasks]

    async def stop(self) -> None:
        """Cancel asynchronous functions and wait for their end, even if the waiting task is cancelled (again).

        Threads cannot be stopped: the others keep running.
        """
        for task in self._tasks:
            task.cancel()
        await uninterrupted(asyncio.create_task(self._end()))

    async def _end(self) -> None:
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)


async def _run(toolset: ToolSet, call: ToolCall) -> ToolResult:
    run = functools.partial(toolset.run, call)
    # Functions that are not asynchronous would block the event loop.
    result = run() if toolset.is_asynchronous(call.name) else await asyncio.wrap_future(in_thread(run))
    return result if isinstance(result, ToolResult) else await result
