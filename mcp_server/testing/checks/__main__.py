"""The process that loads the plug-in: reads a :class:`CheckRequest`, and writes a :class:`CheckEvent` for each step."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO, TypeVar

import msgspec
import pytest

from mcp_server.errors import ConfigError
from mcp_server.testing.checks.loading import NotFulfilled, compare, load_table, make
from mcp_server.testing.checks.request import BUILT, CHOSEN, COLLECTED, COMPARED, LOADED, CheckEvent, CheckRequest

T = TypeVar("T")

_LONGEST: Final = 10_000
"""The longest reason, in characters: a test may compare very large values."""

_FILE = """from mcp_server.testing.checks.__main__ import request_of
from mcp_server.testing.checks.suites import suite

TestPlugIn = suite(request_of({text!r}))
"""


def request_of(text: str) -> CheckRequest:
    """The request that a text describes."""
    return msgspec.json.decode(text, type=CheckRequest)


class Reporter:
    """A plug-in of pytest that writes how each test ends.

    Args:
        out: where to.
        done: the tests that are left out.
    """

    def __init__(self, out: TextIO, done: tuple[str, ...]) -> None:
        self._out = out
        self._done = done
        self._failed = False
        """Whether the tests could not be collected."""

    def write(self, test: str, outcome: str = "", reason: str = "") -> None:
        """Write an event."""
        reason = reason[:_LONGEST].encode(errors="backslashreplace").decode()
        self._out.write(msgspec.json.encode(CheckEvent(test=test, outcome=outcome, reason=reason)).decode() + "\n")
        self._out.flush()

    def end(self, status: int = pytest.ExitCode.OK) -> NoReturn:
        """End the process, in which a plug-in may have left threads.

        Args:
            status: how pytest has ended. Unless it ran all tests, the other process sees one of them break off.
        """
        if self._failed or status in (
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            self.write("")
            os._exit(0)
        sys.stderr.flush()
        os._exit(status)

    def step(self, name: str, run: Callable[[], T]) -> T:
        """Run a step before the tests, and end the process if it fails."""
        if name not in self._done:
            self.write(name)
        try:
            result = run()
        except BaseException as error:  # noqa: BLE001  # a plug-in may even raise SystemExit
            self.write(name, "failed", _described(error))
            self.end()
        if name not in self._done:
            self.write(name, "passed")
        return result

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is done."""
        items[:] = [item for item in items if _words(item.nodeid) not in self._done]
        if COLLECTED not in self._done and not self._failed:
            self.write(COLLECTED, "passed")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self.write(_words(nodeid))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """The tests could not be made."""
        if report.failed:
            self._failed = True
            self.write(COLLECTED, "failed", report.longreprtext.strip().splitlines()[-1])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended."""
        if report.skipped:
            _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
            self.write(_words(report.nodeid), "skipped", reason.removeprefix("Skipped: "))
        elif report.failed:
            self.write(_words(report.nodeid), "failed", _crash(report))
        elif report.when == "call":
            self.write(_words(report.nodeid), "passed")


def _words(nodeid: str) -> str:
    """The name of a test as a sentence."""
    return nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ").replace("[", " (").replace("]", ")")


def _crash(report: pytest.TestReport) -> str:
    """What a test failed with, and where."""
    crash: Any = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return report.longreprtext.strip().splitlines()[-1]
    return f"{crash.message} ({crash.path}:{crash.lineno})"


def _described(error: BaseException) -> str:
    if isinstance(error, ConfigError | NotFulfilled):
        return str(error)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


async def _made(request: CheckRequest, table: Any) -> Any:
    """The plug-in. It may need the event loop, as in a server."""
    return make(request, table)


def main() -> None:
    """Check the plug-in that standard input describes."""
    text = sys.stdin.read()
    request = request_of(text)
    # What the plug-in prints must not be taken for events.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    reporter = Reporter(out, request.done)
    table = reporter.step(LOADED, lambda: load_table(request))
    plug_in = reporter.step(BUILT, lambda: asyncio.run(_made(request, table)))
    reporter.step(COMPARED, lambda: compare(request.kind, plug_in))
    if request.kind == "services":
        reporter.write("the contract suite", "skipped", "gRPC services have none")
        reporter.end()
    from mcp_server.testing.checks.suites import suite

    reporter.step(CHOSEN, lambda: suite(request))
    reporter.write(COLLECTED)
    file, settings = Path(request.folder) / "test_plug_in.py", Path(request.folder) / "pytest.ini"
    file.write_text(_FILE.format(text=text))
    settings.write_text("[pytest]\n")  # whatever project the current folder belongs to
    options = ["-c", str(settings), "--rootdir", request.folder, "--import-mode=importlib", "-q"]
    os.environ.pop("PYTEST_ADDOPTS", None)  # it is for the tests of that project
    status = pytest.main([*options, "-p", "no:cacheprovider", "-W", "default", str(file)], plugins=[reporter])
    reporter.end(status)


if __name__ == "__main__":
    main()
