"""Lets a fault that repeats write a few lines, and then one line with the number of those that were left out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

LINES: Final = 10
"""How many lines that are alike are written in :data:`SECONDS`."""
SECONDS: Final = 60.0
"""After how many seconds they count anew."""
MAX_KINDS: Final = 1000
"""How many kinds of lines are counted at a time; when there are more, all are counted anew."""
TEMPLATE: Final = "_template"
"""The field in which lines of other libraries carry their text without the values in it."""

_LIMITED: Final = frozenset({"warning", "error", "critical"})
_ALWAYS: Final = frozenset({"call", "turn", "content"})
"""Events of which each has a line of its own, however many there are."""
_ALIKE: Final = ("logger", "reason", "provider", "model", "method", "service", "status", "observer", "path")
"""The fields in which lines that are alike agree, beside level, event and the class of the exception."""

_Event = MutableMapping[str, Any]
_Kind = tuple[str, ...]


class _Window:
    """The lines of one kind within :data:`SECONDS`."""

    __slots__ = ("begin", "count", "facts")

    def __init__(self, begin: float, facts: dict[str, Any]) -> None:
        self.begin = begin
        self.count = 0
        self.facts = facts


class RepeatLimit:
    """A processor of structlog that drops lines of the level ``warning`` and above when there are too many of a kind.

    Args:
        clock: the time, in seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # every thread may log
        self._windows: dict[_Kind, _Window] = {}
        self._timer: threading.Timer | None = None

    def __call__(self, logger: object, level: str, event: _Event) -> _Event:
        """Pass the line on.

        Raises:
            structlog.DropEvent: it is left out.
        """
        template = event.pop(TEMPLATE, None)
        if level not in _LIMITED or event["event"] in _ALWAYS or "suppressed" in event:
            return event
        like = str(template or event["event"])
        facts = {name: event[name] for name in _ALIKE if name in event}
        kind = (level, like, _class_of(event.get("exc_info")), *[f"{name}={value}" for name, value in facts.items()])
        now = self._clock()
        ended: list[tuple[str, dict[str, Any]]] = []
        with self._lock:
            window = self._windows.get(kind)
            if window is None or now - window.begin >= SECONDS:
                if window is not None:
                    ended = _summaries({kind: window})
                elif len(self._windows) >= MAX_KINDS:
                    ended = _summaries(self._windows)
                    self._windows.clear()
                window = self._windows[kind] = _Window(now, {"like": like, **facts})
            window.count += 1
            dropped = window.count > LINES
            if dropped and self._timer is None:
                self._look_after(SECONDS)
        _write(ended)
        if dropped:
            raise structlog.DropEvent
        return event

    def flush(self) -> None:
        """Write how many lines were left out until now, and count anew."""
        with self._lock:
            windows, self._windows = self._windows, {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        _write(_summaries(windows))

    def _look(self) -> None:
        """Write how many lines of each kind were left out whose time is over."""
        now = self._clock()
        with self._lock:
            over = {kind: window for kind, window in self._windows.items() if now - window.begin >= SECONDS}
            for kind in over:
                del self._windows[kind]
            self._timer = None
            begins = [window.begin for window in self._windows.values() if window.count > LINES]
            if begins:
                self._look_after(max(min(begins) + SECONDS - now, 0.1))
        _write(_summaries(over))

    def _look_after(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()


def _summaries(windows: MutableMapping[_Kind, _Window]) -> list[tuple[str, dict[str, Any]]]:
    """The level and the facts of a line for each kind of which lines were left out."""
    return [
        (kind[0], {"suppressed": window.count - LINES, **window.facts})
        for kind, window in windows.items()
        if window.count > LINES
    ]


def _write(summaries: list[tuple[str, dict[str, Any]]]) -> None:
    for level, facts in summaries:
        text = f"… and {facts['suppressed']} more like it in {SECONDS:g} s"
        structlog.get_logger().log(logging.getLevelNamesMapping()[level.upper()], text, **facts)


def _class_of(exc_info: object) -> str:
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    return type(exc_info).__name__ if isinstance(exc_info, BaseException) else ""
