"""The folder ``examples``: everybody finds what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcp_server.settings import load
from tests.examples.programs import EXAMPLES

FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
SETTINGS = [path for path in sorted(EXAMPLES.glob("*/*.toml")) if path.parent.name != "provider"]


def test_the_index_lists_every_example() -> None:
    """With its page."""
    linked = re.findall(r"^\| \[(\w+)\]\((\w+)/README\.md\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(linked) == [(path.name, path.name) for path in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_page_starts_every_program(folder: Path) -> None:
    """Its commands, or a link to the file, name each."""
    page = (folder / "README.md").read_text()
    assert "$ mcp-server serve" in page or "mcp-server serve --config" in page
    programs = [path.name for path in folder.iterdir() if path.suffix in {".py", ".js", ".html"}]
    assert [name for name in programs if f"]({name})" not in page] == []


@pytest.mark.parametrize("file", SETTINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_settings_are_valid(file: Path) -> None:
    """A server would start with them. Those of ``provider`` need its package: test_provider.py."""
    config = load(file, {"OPENAI_API_KEY": "sk-test"})
    assert config.models.default.partition("/")[0] in config.providers
