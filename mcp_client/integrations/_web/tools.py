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
    _running: dict[str, object] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.functions)

    def start(self, turn: str, work: Callable[..., Coroutine[Any, Any, None] | None], *arguments: Any) -> bool:
        """Run ``work`` beside the request, in a task if it is asynchronous, or else in a thread.

        Args:
            turn: the full name of the turn that the answer begins with.
            work: runs the functions.
            *arguments: of ``work``.

        Returns:
            Whether it was started: this process runs the functions of an answer only once at a time.
        """
        claim = object()
        if self._running.setdefault(turn, claim) is not claim:  # one step, also if two threads take it
            return False
        if not inspect.iscoroutinefunction(work):
            in_thread(functools.partial(self._run, turn, work, *arguments))
            return True
        self._running[turn] = task = asyncio.create_task(work(*arguments))  # the event loop itself may drop a task
        task.add_done_callback(functools.partial(self._ended, turn))
        return True

    def _run(self, turn: str, work: Callable[..., Any], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  # nobody else would see it
            _log_failure(error)
        finally:
            del self._running[turn]

    def _ended(self, turn: str, task: asyncio.Task[None]) -> None:
        del self._running[turn]
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


def _log_failure(error: BaseException) -> None:
    # Of a turn that failed, the browser has been told.
    trace = None if isinstance(error, MCPError) else error
    _log.warning("an answer with functions has failed: %s", error, exc_info=trace)
