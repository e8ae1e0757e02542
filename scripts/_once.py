"""A pytest plug-in for several runs that share the tests: what ran in one of them is left out of the next.

``-p scripts._once --once=FILE`` leaves out the tests that FILE names, and adds to FILE those that run.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--once", type=Path, metavar="FILE", required=True, help="the names of the tests that have run")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Once(config.getoption("once")))


class _Once:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._ran: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        earlier = set(self._file.read_text().splitlines()) if self._file.exists() else set()
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in earlier])
        items[:] = [item for item in items if item.nodeid not in earlier]

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._ran.append(nodeid)

    def pytest_sessionfinish(self) -> None:
        with self._file.open("a") as file:
            file.writelines(f"{test}\n" for test in self._ran)
