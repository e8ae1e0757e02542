"""What docs/write-a-provider.md says works as written: its code, its entry points, its settings and its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_client import MCPClient
from mcp_server.errors import ProviderError
from mcp_server.settings import load
from mcp_server.testing import running
from tests.contracts.tutorial import PAGE, names
from tests.packages import install
from tests.pages import blocks

SETTINGS = """
[server]
address = "127.0.0.1:0"

[store]
type = "memory"

[metrics]
address = ""
"""

TestShouting = names()["TestShouting"]
"""The contract, on the provider of the page."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the page is installed."""
    monkeypatch.syspath_prepend(tmp_path)
    code = blocks(PAGE)
    install(tmp_path, "shouting", code[0] + code[1], blocks(PAGE, "toml")[0])


async def answer(folder: Path, settings: str) -> str:
    """What a server with these settings answers to a greeting."""
    file = folder / "contextprotocol.toml"
    file.write_text(SETTINGS + settings)
    async with running(load(file, environ={})) as server, MCPClient(server.address) as client:
        return (await client.chat("hello there")).text


@pytest.mark.usefixtures("installed")
async def test_the_settings_of_the_page_plug_it_in(tmp_path: Path) -> None:
    """By its entry point, options included; and by the name of its class."""
    _, settings, _ = blocks(PAGE, "toml")[:3]
    assert await answer(tmp_path, settings) == "HELLO THERE !!!"
    by_class = settings.replace('class = "shouting"', 'class = "shouting:Shouting"')
    assert by_class != settings
    assert await answer(tmp_path, by_class) == "HELLO THERE !!!"


async def test_the_settings_table_of_the_page_plugs_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a type of its own, whose model is the default."""
    monkeypatch.syspath_prepend(tmp_path)
    code, (entry_points, _, settings) = blocks(PAGE), blocks(PAGE, "toml")[:3]
    entry_points = entry_points.replace("shouting:Shouting", "shouting_table:ShoutingSettings")
    install(tmp_path, "shouting_table", code[0] + code[1], entry_points)
    assert await answer(tmp_path, settings) == "HELLO THERE !!!"


async def test_the_test_of_the_page_passes() -> None:
    """Run beside the class."""
    await names()["test_it_shouts"]()


def test_the_page_names_every_error_that_says_what_happens_next() -> None:
    """Its table holds all that a provider may raise."""
    page = PAGE.read_text()
    assert not [kind.__name__ for kind in ProviderError.__subclasses__() if f"`{kind.__name__}" not in page]
