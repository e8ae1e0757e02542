"""Each case with the program of each language; the table at the end of the tests says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from tests.interop import pages
from tests.interop.languages import LANGUAGES, Language
from tests.interop.programs import Program, started

Start = Callable[..., AbstractAsyncContextManager[Program]]


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.folder)
def command(request: pytest.FixtureRequest) -> Sequence[str]:
    """How the program of a language is started; it is built first."""
    language: Language = request.param
    return language.build(request.config.cache.mkdir("interop"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine lacks the tools for; here and not in a fixture, so that it is one line a language."""
    callspec = getattr(item, "callspec", None)  # those with parameters have one
    language: Language | None = callspec.params.get("command") if callspec else None
    if language and language.missing:
        pytest.skip(f"{language.title}: this machine lacks {', '.join(language.missing)}")


@pytest.fixture
def start(command: Sequence[str], request: pytest.FixtureRequest) -> Start:
    """Start the program with an address, and the case that the test is named for, or another."""
    named = request.node.originalname.removeprefix("test_")
    return lambda address, case=named: started(command, address, case)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of all cases and languages that were run."""
    outcomes = {
        report.nodeid.rpartition("::")[2]: outcome
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.getreports(outcome)
        if isinstance(report, pytest.TestReport) and "tests/interop/test_cases.py" in report.nodeid
    }
    if outcomes:
        terminalreporter.section("the same in every language")
        terminalreporter.write_line(pages.render(outcomes))
