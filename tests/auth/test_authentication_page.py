"""The page about authentication says what the server does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mcp_server.middleware.authentication.scopes import RULES
from mcp_server.testing import EchoProvider
from tests.auth.keys import config_with, new_key
from tests.conftest import Serve
from tests.pages import blocks

PAGE = Path(__file__).parent.parent.parent / "docs" / "authentication.md"


def test_the_table_of_scopes_is_that_of_the_server() -> None:
    """Every method stands beside each scope that gives it."""
    table: dict[str, set[str]] = {}
    for scope, methods in re.findall(r"^\| `([a-z.]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE):
        table.setdefault(scope, set()).update(re.findall(r"`([A-Z]\w+|/[a-z/]+)`", methods))
    rules: dict[str, set[str]] = {scope: set() for scope in table}
    for (_, method), rule in RULES.items():
        for scope in rule or ():
            rules[scope].add(method)
    assert table == rules


async def test_the_example_calls_with_a_key(serve: Serve) -> None:
    """As it stands there."""
    key = new_key("acme", ["chat"])
    wire = await serve(config_with(key), providers={"echo": EchoProvider()})
    names: dict[str, Any] = {}
    (program,) = blocks(PAGE)
    exec(program, names)  # noqa: S102  # the program of the page
    assert await names["ask"](wire.server.address, key.secret) == "Who am I?"
