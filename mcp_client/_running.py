"""How the functions that a model asks for are run by an asynchronous client. The blocking one has its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from mcp_client._base import STOP_TIMEOUT
from mcp_client._functions import Functions, in_thread
from mcp_client._messages import ToolCall, ToolResult


class Running:
    """Functions that run beside each other, whoever waits for them.

    Args:
        functions: what there is.
        calls: what is run of it.
    """

    def __init__(self, functions: Functions, calls: Sequence[ToolCall]) -> None:
        self._tasks = [asyncio.create_task(_run(functions, call)) for call in calls]

    async def results(self, timeout: float | None) -> Sequence[ToolResult]:
        """What all of them answer, in their order.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: one of them takes longer. They run on, as they do if who waits is cancelled.
        """
        _, others = await asyncio.wait(self._tasks, timeout=timeout)
        if others:
            raise TimeoutError
        return [task.result() for task in self._tasks]

    async def stop(self) -> None:
        """Cancel what is asynchronous, and let it end. What runs in a thread cannot be stopped: it runs on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)


async def _run(functions: Functions, call: ToolCall) -> ToolResult:
    run = functools.partial(functions.run, call)
    # What is not asynchronous has a thread, so that it holds nothing up.
    result = run() if functions.is_asynchronous(call.name) else await asyncio.wrap_future(in_thread(run))
    return result if isinstance(result, ToolResult) else await result
