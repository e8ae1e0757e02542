"""The functions that models may call in the chat of a web application."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_client import MCPError, Message, Text, ToolResult
from mcp_client.tools.thread import in_thread

_log: Final = logging.getLogger("mcp_client.integrations")

_UNKNOWN: Final = (Text(text="The call was interrupted. Its outcome is unknown."),)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The functions of a chat, and the answers that they are run for.

    Attributes:
        functions: that the model may call.
        max_rounds: how many rounds of calls one answer may have.
        timeout: how long one answer may take with all of its rounds, in seconds.
    """

    functions: Sequence[Callable[..., Any]] = ()
    max_rounds: int = 8
    timeout: float = 300.0
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.functions)

    def start(self, work: Callable[..., Coroutine[Any, Any, None] | None], *arguments: Any) -> None:
        """Run ``work`` beside the request: in a task if it is asynchronous, or else in a thread."""
        if not inspect.iscoroutinefunction(work):
            in_thread(functools.partial(_logged, work, *arguments))
            return
        task = asyncio.create_task(work(*arguments))
        self._running.add(task)  # the event loop itself may drop it
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log_failure(error)

    def may_run_for(self, message: Message) -> bool:
        """Whether functions may still run for this answer, which calls some."""
        since = message.create_time
        return bool(self) and since is not None and datetime.now(UTC) - since < timedelta(seconds=self.timeout)


def interrupted(message: Message) -> list[Message]:
    """The results of calls whose functions ended with their process."""
    return [
        Message.tool(ToolResult(tool_call_id=call.id, parts=_UNKNOWN, is_error=True)) for call in message.tool_calls
    ]


def _logged(work: Callable[..., Any], *arguments: Any) -> None:
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001  # nobody else would see it
        _log_failure(error)


def _log_failure(error: BaseException) -> None:
    # Of a turn that failed, the browser has been told.
    trace = None if isinstance(error, MCPError) else error
    _log.warning("an answer with functions has failed: %s", error, exc_info=trace)
