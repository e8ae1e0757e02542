"""How the functions that a model asks for are run by an asynchronous client. The blocking one has its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from mcp_client._functions import Function

_Result = TypeVar("_Result")


async def invoke(function: Function, bound: Callable[[], Any]) -> Any:
    """Call it: what is not asynchronous in a thread, so that it holds nothing up."""
    return await bound() if function.asynchronous else await asyncio.to_thread(bound)


async def together(calls: Sequence[Callable[[], Awaitable[_Result]]]) -> list[_Result]:
    """The results of calls that go on at once. If the task is cancelled, all of them are."""

    async def result(call: Callable[[], Awaitable[_Result]]) -> _Result:
        return await call()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(result(call)) for call in calls]
    return [task.result() for task in tasks]
