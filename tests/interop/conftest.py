"""Each case with the program of each language; the table at the end of the tests says what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec
import pytest

from mcp_server.app import UnifiedMCPServer
from mcp_server.interfaces import Provider
from mcp_server.settings import Config, CORSSettings, WebSettings
from mcp_server.settings import testing_config as settings
from mcp_server.testing import EchoProvider
from tests.conftest import Serve
from tests.interop import pages
from tests.interop.languages import LANGUAGES, Language
from tests.interop.programs import Program, started
from tests.wire import Wire

WEB: Final = WebSettings(address="127.0.0.1:0", cors=CORSSettings(origins=("http://127.0.0.1:*",)))
"""An HTTP edge that pages of this machine may call."""


class Start:
    """Starts the program of a language.

    Args:
        language: the language.
        command: how its program is started.
        case: the case, unless another one is named.
    """

    def __init__(self, language: Language, command: Sequence[str], case: str) -> None:
        self.web = language.web
        """Whether it calls the HTTP edge."""
        self._command = command
        self._case = case

    def address(self, server: UnifiedMCPServer) -> str:
        """Where the program calls a server: over gRPC or over HTTP."""
        return server.web_address if self.web else server.address

    def __call__(self, address: str | UnifiedMCPServer, case: str = "") -> AbstractAsyncContextManager[Program]:
        """The program with this address, or that of a server."""
        if not isinstance(address, str):
            address = self.address(address)
        return started(self._command, address, case or self._case)


@pytest.fixture
async def serve(serve: Serve) -> Serve:
    """As everywhere, but each server has an HTTP edge."""

    async def with_edge(config: Config | None = None, **arguments: Any) -> Wire:
        if config is None:
            providers: Mapping[str, Provider] = arguments.setdefault("providers", {"echo": EchoProvider()})
            name, provider = next(iter(providers.items()))
            config = settings(default_model=f"{name}/{(await provider.models())[0].name}")
        return await serve(msgspec.structs.replace(config, web=WEB), **arguments)

    return with_edge


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.id)
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
    language: Language = request.node.callspec.params["command"]
    return Start(language, command, request.node.originalname.removeprefix("test_"))


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
