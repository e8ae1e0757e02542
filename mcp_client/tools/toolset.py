"""The functions of one chat."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from mcp_client.tools import result
from mcp_client.tools.function import ToolFunction
from mcp_client.tools.tool import Tool
from mcp_client.values import ToolCall, ToolResult

_FAILURES: Final = (Exception, SystemExit, asyncio.CancelledError)
"""The exceptions that are sent to the model. All others, such as ``KeyboardInterrupt``, end the program."""

_log: Final = logging.getLogger("mcp_client.tools")


class ToolSet:
    """The functions that a model may call, by name.

    Args:
        functions: with different names.

    Raises:
        TypeError, ValueError: a function cannot be described, or two have the same name.
    """

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        if not isinstance(functions, Iterable):
            raise TypeError(f"tools: expected a sequence of functions, not {functions!r} alone")
        self._by_name: dict[str, ToolFunction] = {}
        for function in map(ToolFunction, functions):
            if function.name in self._by_name:
                raise ValueError(f"tools: two are named {function.name!r}")
            self._by_name[function.name] = function

    @property
    def tools(self) -> Sequence[Tool]:
        """The descriptions of the functions, for the model."""
        return [
            Tool(name=function.name, description=function.description, parameters=function.parameters)
            for function in self._by_name.values()
        ]

    def is_asynchronous(self, name: str) -> bool:
        """Whether the function of this name is a coroutine function, which does not block an event loop."""
        return name in self._by_name and self._by_name[name].is_asynchronous

    def run(self, call: ToolCall) -> ToolResult | Awaitable[ToolResult]:
        """Run a call of the model. The result of an asynchronous function is awaitable.

        Failures are results too, so that they can be returned from any thread or event loop.
        """
        try:
            if call.name not in self._by_name:
                raise LookupError(f"unknown tool {call.name!r}; available: {', '.join(self._by_name) or 'none'}")
            value = self._by_name[call.name].call(call.arguments_json)
            return _awaited(call, value) if inspect.isawaitable(value) else result.success(call, value)
        except _FAILURES as error:
            return _failed(call, error)


async def _awaited(call: ToolCall, value: Awaitable[Any]) -> ToolResult:
    try:
        return result.success(call, await value)
    except _FAILURES as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return _failed(call, error)


def _failed(call: ToolCall, error: BaseException) -> ToolResult:
    _log.warning("the tool %r failed; its error is sent to the model", call.name, exc_info=error)
    return result.failure(call, error)
