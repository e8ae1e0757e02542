"""How the functions that a model asks for are run by a blocking client: several at once in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mcp_client._functions import Function

_Result = TypeVar("_Result")


def invoke(function: Function, bound: Callable[[], Any]) -> Any:
    """Call it: what is asynchronous in an event loop of its own, beside one that may run here."""
    if not function.asynchronous:
        return bound()
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(context.run, lambda: asyncio.run(bound())).result()


def together(calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """The results of calls that go on at once; one alone is made in this thread."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(len(calls)) as executor:
        futures = [executor.submit(contextvars.copy_context().run, call) for call in calls]
        return [future.result() for future in futures]
