"""What docs/write-a-provider.md says works as it stands there: its code, its entry point, its settings and its test."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mcp_client import MCPClient
from mcp_server.errors import ProviderError
from mcp_server.settings import load
from mcp_server.testing import running
from tests.contracts.tutorial import PAGE, blocks, provider_class

SETTINGS = """
[server]
address = "127.0.0.1:0"

[store]
type = "memory"

[metrics]
address = ""
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the page is installed."""
    code, _test = blocks("python")
    entry_points, _settings = blocks("toml")
    (tmp_path / "shouting.py").write_text(code)
    information = tmp_path / "my_models-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-models\nVersion: 1.0\n")
    lines = []
    for group, entries in tomllib.loads(entry_points)["project"]["entry-points"].items():
        lines += [f"[{group}]", *[f"{name} = {value}" for name, value in entries.items()]]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)


async def answer(folder: Path, settings: str) -> str:
    """What a server with these settings says to a greeting."""
    file = folder / "contextprotocol.toml"
    file.write_text(SETTINGS + settings)
    async with running(load(file, environ={})) as server, MCPClient(server.address) as client:
        return (await client.chat("hello there")).text


@pytest.mark.usefixtures("installed")
async def test_the_settings_of_the_page_plug_it_in(tmp_path: Path) -> None:
    """By its entry point, options included; and by the name of its class."""
    _entry_points, settings = blocks("toml")
    assert await answer(tmp_path, settings) == "HELLO THERE !!!"
    by_class = settings.replace('class = "shouting"', 'class = "shouting:Shouting"')
    assert by_class != settings
    assert await answer(tmp_path, by_class) == "HELLO THERE !!!"


async def test_the_test_of_the_page_passes() -> None:
    """Run beside the class."""
    names: dict[str, Any] = {"Shouting": provider_class()}
    exec(compile(blocks("python")[1], "docs/write-a-provider.md", "exec"), names)  # noqa: S102  # it is our own page
    await names["test_it_shouts"]()


def test_the_page_names_every_error_that_says_what_happens_next() -> None:
    """Its table holds all that a provider may raise."""
    page = PAGE.read_text()
    assert not [kind.__name__ for kind in ProviderError.__subclasses__() if f"`{kind.__name__}" not in page]
