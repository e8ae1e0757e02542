"""The program of the page about Anthropic's API runs as it stands there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcp_server.testing import EchoProvider
from tests.pages import blocks
from tests.web.anthropic.conftest import StartAPI

PAGE = Path(__file__).parents[3] / "docs" / "anthropic_api.md"


async def test_the_program_of_the_page_runs(start_api: StartAPI, capsys: pytest.CaptureFixture[str]) -> None:
    """With the address of the server of the test."""
    api = await start_api(echo=EchoProvider())
    program = blocks(PAGE)[0].replace("http://127.0.0.1:8080", api.url)
    await asyncio.to_thread(exec, program + "\nclient.close()", {})
    assert "Hello" in capsys.readouterr().out.splitlines()  # between lines of the log
