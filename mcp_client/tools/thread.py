"""Runs functions in threads."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def in_thread(work: Callable[[], _Result]) -> Future[_Result]:
    """Run a function in a new daemon thread: the program does not wait for it when it ends."""
    future: Future[_Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # passed to the waiting thread
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=[run], name="mcp_client.tools", daemon=True).start()
    return future
