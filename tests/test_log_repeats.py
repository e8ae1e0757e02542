"""A fault that repeats fills no disk: the log says how often it has happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from mcp_server.errors import ProviderUnavailable
from mcp_server.logs import repeats
from mcp_server.logs.repeats import LINES, SECONDS, TEMPLATE, RepeatLimit
from mcp_server.testing import ScriptedProvider
from tests.conftest import Serve
from tests.middleware.test_access import Stream, stream
from tests.wire import Refused

__all__ = ["stream"]  # a fixture


class Log:
    """A log whose lines are kept, and whose clock the test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[dict[str, Any]] = []
        self.limit = RepeatLimit(lambda: self.now)
        structlog.configure(processors=[self.limit, self._keep], cache_logger_on_first_use=False)

    def _keep(self, logger: object, level: str, event: Any) -> Any:
        self.lines.append({"level": level, **event})
        raise structlog.DropEvent

    def fault(self, event: str, times: int = 1, **facts: Any) -> None:
        for number in range(times):
            structlog.get_logger().warning(event, number=number, **facts)

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.limit.flush()
    structlog.reset_defaults()


def test_the_first_lines_are_written_and_the_others_counted(log: Log) -> None:
    """The count comes with the first line of the next minute."""
    log.fault("away", LINES + 120, reason="A")
    assert len(log.lines) == LINES
    log.now = SECONDS
    log.fault("away", reason="A")
    summary, following = log.lines[LINES:]
    assert summary["event"] == "… and 120 more like it in 60 s"
    assert (summary["level"], summary["like"], summary["reason"]) == ("warning", "away", "A")
    assert summary["suppressed"] == 120
    assert following["event"] == "away"


def test_lines_that_differ_in_what_they_are_about_are_counted_apart(log: Log) -> None:
    """A fault of one model hides none of another."""
    log.fault("attempt", 2 * LINES, model="a/a", reason="A")
    log.fault("attempt", 3, model="b/b", reason="A")
    log.fault("attempt", 3, model="a/a", reason="B")
    assert len(log.of("attempt")) == LINES + 6


def test_each_call_and_each_turn_keeps_its_line(log: Log) -> None:
    """They are the record of what was done; so are lines that report no fault."""
    for event in ("call", "turn", "content"):
        log.fault(event, 3 * LINES)
        assert len(log.of(event)) == 3 * LINES
    for _ in range(3 * LINES):
        structlog.get_logger().info("started")
    assert len(log.of("started")) == 3 * LINES


def test_the_count_is_written_at_the_end_of_the_process(log: Log) -> None:
    """And then once."""
    log.fault("away", LINES + 3)
    log.limit.flush()
    log.limit.flush()
    assert [line["suppressed"] for line in log.lines[LINES:]] == [3]


def test_the_count_is_written_although_no_further_line_comes(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the minute is over."""
    monkeypatch.setattr(repeats, "SECONDS", 0.01)
    log.fault("away", LINES + 3)
    log.now = 1.0
    while (timer := log.limit._timer) is not None:  # it may have looked before the minute was over
        timer.join()
    assert [line["suppressed"] for line in log.lines[LINES:]] == [3]


def test_lines_of_libraries_are_alike_whatever_their_values(stream: Stream) -> None:
    """Their text without the values counts."""
    import logging

    for number in range(LINES + 5):
        logging.getLogger("a.library").warning("port %s is away", number)
    assert [line["event"] for line in stream.lines] == [f"port {number} is away" for number in range(LINES)]
    assert TEMPLATE not in stream.text


def test_the_number_of_kinds_is_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without end take no memory without end, and no count is lost."""
    monkeypatch.setattr(repeats, "MAX_KINDS", 5)
    log.fault("away", LINES + 7, model="first")
    for number in range(20):
        log.fault("away", model=f"m{number}")
    assert len(log.limit._windows) <= 5
    assert [line["suppressed"] for line in log.lines if "suppressed" in line] == [7]


async def test_a_provider_that_is_away_does_not_flood_the_log(stream: Stream, serve: Serve) -> None:
    """Its failures are lines until there are too many; the turns keep theirs."""
    wire = await serve(providers={"bad": ScriptedProvider([ProviderUnavailable("away")])})
    for _ in range(LINES + 2):
        with Refused():
            await wire.say("hello", session="", model="bad/scripted")
    assert len(stream.events("attempt")) <= LINES
    assert len(stream.events("turn")) == LINES + 2
