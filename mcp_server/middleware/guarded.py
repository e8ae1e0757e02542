"""Keeps an observer that raises from disturbing the turns that it observes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from mcp_server.interfaces import TurnObserver
from mcp_server.values import Attempt, Turn

log = structlog.get_logger("contextprotocol.observers")


class GuardedObserver:
    """A :class:`~mcp_server.interfaces.TurnObserver` that calls another, and logs what that raises.

    Args:
        observer: an observer that is not the server's own.
        development: whether a turn fails if the observer raises at its start, so that the caller sees the exception.
            At its end the caller has the answer already.
    """

    def __init__(self, observer: TurnObserver, *, development: bool = False) -> None:
        self._observer = observer
        self._development = development

    def turn_started(self, turn: Turn, /) -> None:
        """Called when a turn has started."""
        if self._development:
            self._observer.turn_started(turn)
        else:
            self._call("turn_started", lambda: self._observer.turn_started(turn))

    def turn_ended(self, turn: Turn, /) -> None:
        """Called when a turn has ended."""
        self._call("turn_ended", lambda: self._observer.turn_ended(turn))

    def attempts_ended(self, service: str, attempts: Sequence[Attempt], /) -> None:
        """Called when calls to providers have ended."""
        self._call("attempts_ended", lambda: self._observer.attempts_ended(service, attempts))

    def _call(self, method: str, notify: Callable[[], None]) -> None:
        try:
            notify()
        except Exception as error:  # the turn goes on
            log.error("observer failed", observer=type(self._observer).__name__, method=method, exc_info=error)
