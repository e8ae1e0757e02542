"""The pages about web frameworks and LangChain: their programs run, their tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core import exceptions

import mcp_client
from mcp_client import MCPError
from mcp_client.integrations import langchain
from mcp_client.integrations._web import problems
from tests.client.blocking.beside import LOOP, running
from tests.client.integrations.obliging import ObligingProvider

DOCS = Path(__file__).parents[3] / "docs"
WEB = (DOCS / "clients" / "web.md").read_text()
LANGCHAIN = (DOCS / "clients" / "langchain.md").read_text()
ADDRESS = "127.0.0.1:50051"


def programs(page: str) -> list[str]:
    """The code of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def named(page: str, heading: str) -> list[tuple[str, str, type[MCPError]]]:
    """Each error that a table names, with the two cells of its row."""
    _, _, rest = page.partition(f"{heading}\n")
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", rest.partition("\n\n")[0], re.MULTILINE)
    found = []
    for left, right in rows:
        for name in re.findall(r"`(\w+)`", f"{left} {right}"):
            error: Any = getattr(mcp_client, name, None)
            if isinstance(error, type) and issubclass(error, MCPError):
                found.append((left, right, error))
    return found


def test_the_table_of_statuses_is_the_one_of_the_code() -> None:
    """Each error that has a status of its own is there, and has that status."""
    table = {error: int(status) for status, _, error in named(WEB, "| status | errors |")}
    assert table.keys() >= problems.STATUS.keys() - {MCPError}
    for error, status in table.items():
        assert status == next(problems.STATUS[kind] for kind in error.__mro__ if kind in problems.STATUS), error


def test_the_table_of_langchains_errors_is_the_one_of_the_code() -> None:
    """Each of ours, and what it is there."""
    table = {
        error: getattr(exceptions, theirs.strip("`")) for _, theirs, error in named(LANGCHAIN, "| errors | are also |")
    }
    assert table == langchain._LANGCHAIN_ERRORS


def test_the_settings_of_the_web_page_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """They make an object."""
    monkeypatch.setenv("CHAT_SECRET", "what the site keeps to itself")
    *_, settings, functions = programs(WEB)
    names: dict[str, Any] = {}
    exec(compile(settings, "web.md", "exec"), names)  # noqa: S102  # our own page
    assert names["chat"].cookie.samesite == "Strict"
    exec(compile(functions, "web.md", "exec"), names)  # noqa: S102  # our own page
    assert [tool.__name__ for tool in names["chat"].tools.functions] == ["opening_hours"]


def test_the_programs_about_langchain_run_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    """As a reader would collect them, against a model that does what it is asked."""
    source = "\n".join(programs(LANGCHAIN))
    assert ADDRESS in source
    with LOOP, running(providers={"obliging": ObligingProvider()}) as server:
        names: dict[str, Any] = {}
        exec(compile(source.replace(ADDRESS, server.address), "langchain.md", "exec"), names)  # noqa: S102  # our own page
        names["model"].close()
    printed = capsys.readouterr().out
    assert "You said: What is my name?" in printed
    assert "'args': {'day': 'text'}" in printed
    assert "year=3" in printed
    assert "sessions/tour/turns/" in printed
