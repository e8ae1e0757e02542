"""The store of docs/write-a-store.md can be plugged in and fulfils the contract, as its author would test it."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import msgspec
import pytest

from mcp_client import MCPClient
from mcp_server.settings import load
from mcp_server.settings import testing_config as settings_for_tests
from mcp_server.testing import EchoProvider, running
from tests.packages import install
from tests.pages import blocks

SLOW = ("plain_lists", "however_steps_are_mixed", "see_each_other")
"""Tests with hundreds of changes, each of which writes the whole file of this store."""
PAGE = Path(__file__).parents[3] / "docs" / "write-a-store.md"


async def test_the_store_of_the_page_passes_the_suite(tmp_path: Path) -> None:
    """In a project of its own, with the default settings of pytest."""
    store, settings, test = blocks(PAGE)
    (tmp_path / "file_store.py").write_text(f"{store}\n\n{settings}")
    (tmp_path / "test_file_store.py").write_text(test)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not ({' or '.join(SLOW)})"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert re.search(r"\d{3} passed", printed.decode())


async def test_the_store_of_the_page_is_chosen_by_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the type that its entry point has, with a path relative to the configuration file."""
    store, settings, _ = blocks(PAGE)
    entry_points, chosen = blocks(PAGE, "toml")
    install(tmp_path, "file_store", f"{store}\n\n{settings}", entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "file_store", raising=False)
    file = tmp_path / "contextprotocol.toml"
    file.write_text(chosen)
    config = msgspec.structs.replace(settings_for_tests(default_model="echo/echo"), store=load(file, {}).store)
    async with running(config, providers={"echo": EchoProvider()}) as server, MCPClient(server.address) as client:
        session = await client.create_session()
    assert session.id.encode() in (tmp_path / "sessions.data").read_bytes()
